import itertools

import numpy as np
import pytest

from ddpnas import create_strategy
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace


def tell_by_option(strategy, scores):
    batch = strategy.ask()
    strategy.tell(batch, [scores[a["d"]] for a in batch])
    return [a["d"] for a in batch]


@pytest.mark.parametrize(("rarer_is_better", "moved"), [(True, 0.02), (False, 0.0)])
def test_the_better_option_takes_probability_only_if_it_was_not_trained_more_often(
    rarer_is_better, moved
):
    space, decided = DecisionSpace([Decision("d", ("a", "b"))]), 0
    for seed in range(5):
        strategy = create_strategy("mdenas", space, seed=seed, batch=3, lr=0.02)
        chosen = [a["d"] for a in strategy.ask()]
        rarer, other = sorted("ab", key=chosen.count)
        if chosen.count(rarer) == 0:
            continue
        decided += 1
        tell_by_option(strategy, {rarer: 0.5 + rarer_is_better, other: 1.0})
        theta = dict(zip("ab", strategy.distribution.theta["d"]))
        assert theta[rarer] == pytest.approx(0.5 + moved)
        assert theta[other] == pytest.approx(0.5 - moved)
    assert decided > 1


def test_of_options_trained_equally_often_the_better_takes_probability():
    space = DecisionSpace([Decision("d", ("a", "b"))])
    strategy = create_strategy("mdenas", space, lr=0.02, pruning=True)
    assert sorted(tell_by_option(strategy, {"a": 0.6, "b": 0.5})) == ["a", "b"]
    assert strategy.distribution.theta["d"] == pytest.approx([0.52, 0.48])


def test_what_moves_is_summed_over_pairs_by_counts_and_mean_scores_of_all_batches():
    space = DecisionSpace([Decision("d", tuple("abcd")), Decision("e", tuple("uvw"))])
    strategy = create_strategy("mdenas", space, seed=1, batch=4, lr=0.01)
    rng = np.random.default_rng(0)
    seen = {(d.name, o): [] for d in space.decisions for o in d.options}
    theta = {d.name: {o: 1 / len(d.options) for o in d.options} for d in space.decisions}
    more_often_yet_better = 0
    for _ in range(3):
        batch = strategy.ask()
        scores = (rng.random(4) - 2).tolist()  # below the 0 of what was never scored
        strategy.tell(batch, scores)
        for architecture, score in zip(batch, scores):
            for pair in architecture.items():
                seen[pair].append(score)
        for d in space.decisions:
            for a, b in itertools.permutations(d.options, 2):
                own, other = seen[d.name, a], seen[d.name, b]
                if own and other and np.mean(own) > np.mean(other):
                    if len(own) <= len(other):
                        theta[d.name][a] += 0.01
                        theta[d.name][b] -= 0.01
                    else:
                        more_often_yet_better += 1
            found = strategy.distribution.theta[d.name]
            assert found == pytest.approx(list(theta[d.name].values()))
    assert more_often_yet_better > 3
