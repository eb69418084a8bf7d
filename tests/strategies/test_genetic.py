"""Evolution as in Single Path One-Shot: who has children, what they inherit, and the limits."""

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies import create_strategy

SPACE = DecisionSpace([Decision(f"d{i}", tuple("abcd")) for i in range(10)])
TOY = ddpnas.create_space("toy", input_shape=(1, 8, 8))
MACS = ddpnas.count_costs(TOY)["macs"]


def evolve(score, space=SPACE, **options):
    """Return the generations that were asked for, as option indices, and their scores."""
    strategy = create_strategy("genetic", space, **options)
    generations = []
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, [score(a) for a in batch])
        generations.append([space.encode(a) for a in batch])
    return generations, strategy.scores


def by_letters(architecture):
    return sum("abcd".index(option) for option in architecture.values())


def test_crossovers_have_each_decision_from_one_of_the_best_of_all_generations():
    generations, scores = evolve(
        by_letters, evaluations=80, population=20, parents=2, crossover=1.0
    )
    told, inherited = [], set()
    for generation in generations:
        if told:
            best = sorted(range(len(told)), key=lambda i: -scores[i])[:2]
            pair = [told[i] for i in best]
            for child in generation:
                if all(option in both for option, both in zip(child, zip(*pair, strict=True))):
                    inherited |= {pair[0] == child, pair[1] == child}
                    continue
                # Two parents that differ in few decisions have few children.
                differ = sum(a != b for a, b in zip(*pair, strict=True))
                assert 2**differ < 2 * len(generation)
        told += generation
    assert inherited == {False}


def test_mutants_differ_from_a_parent_as_often_as_stated():
    wide = DecisionSpace([Decision(f"d{i}", tuple("abcd")) for i in range(60)])
    generations, scores = evolve(
        by_letters, wide, evaluations=200, population=100, parents=1, crossover=0.0, mutation=0.3
    )
    parent = generations[0][int(np.argmax(scores[:100]))]
    changes = [sum(a != b for a, b in zip(m, parent, strict=True)) for m in generations[1]]
    # A new draw is the old option in one of four cases.
    assert np.mean(changes) / 60 == pytest.approx(0.3 * 3 / 4, abs=0.02)


def test_nothing_is_scored_twice_while_there_is_something_new():
    generations, _ = evolve(by_letters, evaluations=300, population=25)
    assert len({a for g in generations for a in g}) == 300
    assert [len(g) for g in generations] == [25] * 12
    few = DecisionSpace([Decision("a", tuple("xyz")), Decision("b", ("p", "q"))])
    generations, _ = evolve(lambda a: 0.5, few, evaluations=30, population=5)
    assert len({a for g in generations for a in g}) == 6


def test_everything_scored_is_within_the_limits():
    costs = sorted(MACS.cost(TOY.sample(np.random.default_rng(i))) for i in range(200))
    for limit in (costs[100], costs[0]):  # half of all networks; and one that draws hardly meet
        given = {"macs": f"{limit:g}"}
        generations, _ = evolve(
            MACS.cost, TOY, evaluations=40, population=10, mutation=0.5, limits=given
        )
        assert {MACS.cost(TOY.decode(a)) <= limit for g in generations for a in g} == {True}
    free, _ = evolve(MACS.cost, TOY, evaluations=40, population=10, mutation=0.5)
    assert any(MACS.cost(TOY.decode(a)) > costs[100] for g in free for a in g)


def test_a_better_network_is_found_than_by_chance():
    def best(name, seed):
        strategy = create_strategy(name, SPACE, seed=seed, evaluations=300)
        while not strategy.done:
            strategy.tell(batch := strategy.ask(), [by_letters(a) for a in batch])
        return max(strategy.scores)

    pairs = [(best("genetic", seed), best("random", seed)) for seed in range(10)]
    assert sum(found > drawn for found, drawn in pairs) >= 9


def test_limits_that_cannot_be_counted_are_refused():
    with pytest.raises(OptionError, match="limits need a search space"):
        create_strategy("genetic", SPACE, limits={"macs": "2M"})
    with pytest.raises(OptionError, match="did you mean 'macs'"):
        create_strategy("genetic", TOY, limits={"mac": "2M"})
