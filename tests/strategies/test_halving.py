"""Successive halving: rungs, limits, given candidates, and proposals that learn."""

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies import create_strategy

SPACE = DecisionSpace([Decision(f"d{i}", tuple("abcd")) for i in range(6)])


def quality(architecture):
    return sum(n * (1 + i / 100) for i, n in enumerate(SPACE.encode(architecture))) / 18


def run(strategy, score=quality):
    batches = []
    while not strategy.done:
        batch = strategy.ask()
        batches.append(batch)
        strategy.tell(batch, [score(a) for a in batch])
    return batches


def test_each_rung_asks_the_better_half_of_the_one_before_again():
    strategy = create_strategy("halving", SPACE, candidates=8, rungs=3)
    first, second, third, fourth = run(strategy)
    assert [len(b) for b in (first, second, third, fourth)] == [4, 4, 4, 2]
    best = sorted([*first, *second], key=quality)[-4:]
    assert {*third} == {*best}
    assert {*fourth} == {*sorted(third, key=quality)[-2:]}
    assert strategy.architecture == max(fourth, key=quality)


@pytest.mark.parametrize("given", [0, 2])
def test_in_a_small_space_each_architecture_enters_once(given):
    space = DecisionSpace([Decision("a", ("x", "y")), Decision("b", ("p", "q"))])
    first = [{"a": "y", "b": "q"}] * given
    for seed in range(3):
        strategy = create_strategy("halving", space, seed, candidates=8, rungs=2, first=first)
        assert strategy.evaluations == 4 + 2
        batches = run(strategy, score=lambda a: float(a["a"] == "x"))
        assert sum(map(len, batches[:-1])) == len({a for b in batches[:-1] for a in b}) == 4
        assert len({*batches[-1]}) == 2
    only_x = create_strategy("halving", space, candidates=8, rungs=1, prior={"a": {"y": 0.0}})
    assert only_x.evaluations == 2


def test_what_is_lucky_at_first_does_not_win_by_its_old_score():
    seen = set()

    def score(architecture):  # falls when asked again, for one of them
        again = architecture in seen
        seen.add(architecture)
        return 0.1 if again and quality(architecture) > 0.6 else quality(architecture)

    strategy = create_strategy("halving", SPACE, candidates=6, rungs=2, seed=1)
    *_, last = run(strategy, score)
    assert strategy.architecture in last


def test_given_architectures_enter_first():
    given = [dict.fromkeys((d.name for d in SPACE.decisions), o) for o in "ad"]
    strategy = create_strategy("halving", SPACE, candidates=4, first=given)
    assert [dict(a) for a in strategy.ask()[:2]] == given


def test_given_architectures_stay_and_have_to_be_beaten_clearly():
    worst = dict.fromkeys((d.name for d in SPACE.decisions), "a")
    for lead, wins in ((0.1, False), (2.0, True)):
        strategy = create_strategy("halving", SPACE, candidates=8, first=[worst], lead=lead)
        *_, last = run(strategy)
        assert worst in [dict(a) for a in last]
        assert (dict(strategy.architecture) == worst) == wins


@pytest.mark.parametrize("given", [1, 2])
@pytest.mark.parametrize("candidates", [3, 4, 6, 8])
def test_a_drawn_architecture_that_is_clearly_better_wins(candidates, given):
    first = [dict.fromkeys((d.name for d in SPACE.decisions), option) for option in "ab"[:given]]
    strategy = create_strategy("halving", SPACE, candidates=candidates, first=first, lead=0.01)
    batches = run(strategy, score=lambda a: 0.5 if dict(a) in first else 0.9)
    assert dict(strategy.architecture) not in first
    several = [batch for batch in batches[2:] if len(batch) > 1]
    assert all(any(dict(a) in first for a in batch) for batch in several)  # to be compared with


def test_candidates_are_within_the_limits_and_fast():
    space = ddpnas.create_space("toy")
    costs = ddpnas.count_costs(space)
    rng = np.random.default_rng(0)
    drawn = [costs["macs"].cost(space.sample(rng)) for _ in range(100)]
    low, high = np.quantile(drawn, [0.2, 0.9])
    limits = {"macs": f"{low:.0f}..{high:.0f}"}

    def macs(**options):
        strategy = create_strategy(
            "halving", space, candidates=10, rungs=1, limits=limits, **options
        )
        batches = run(strategy, score=lambda a: costs["params"].cost(a))
        return [costs["macs"].cost(a) for batch in batches for a in batch]

    fast = macs(pace={"macs": 1e-6}, fastest=0.2)
    assert min(fast) >= low - 1 and max(fast) <= high + 1
    assert np.mean(fast) < np.mean(macs())


def test_a_prior_makes_options_more_likely():
    prior = {d.name: {"a": 0.0, "b": 0.0, "c": 0.0} for d in SPACE.decisions[:3]}
    strategy = create_strategy("halving", SPACE, candidates=6, rungs=1, prior=prior)
    for batch in run(strategy):
        assert all(a[f"d{i}"] == "d" for a in batch for i in range(3))


def test_what_is_drawn_from_theta_is_better_than_what_is_drawn_from_the_prior():
    second = {}
    for proposals in ("theta", "prior"):
        found = []
        for seed in range(4):
            strategy = create_strategy(
                "halving", SPACE, seed, candidates=24, rungs=1, proposals=proposals
            )
            found.append(np.mean([quality(a) for a in run(strategy)[1]]))
        second[proposals] = np.mean(found)
    assert second["theta"] > second["prior"] + 0.05


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limits": {"macs": "2M"}}, "limits need a search space"),
        ({"prior": {"d0": {"z": 1.0}}}, "d0"),
        ({"reduction": 1}, "reduction"),
        ({"candidates": 0}, "candidates"),
    ],
)
def test_what_does_not_fit_is_refused(options, says):
    with pytest.raises(OptionError, match=says):
        create_strategy("halving", SPACE, **options)
