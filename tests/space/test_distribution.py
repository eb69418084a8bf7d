import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpnas import JointDistribution
from ddpnas.errors import SpaceError
from ddpnas.space import Decision

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def decisions(lengths):
    return tuple(Decision(f"d{i}", tuple(f"o{j}" for j in range(k))) for i, k in enumerate(lengths))


def random_distribution(lengths, seed, prunings=0):
    rng = np.random.default_rng(seed)
    distribution = JointDistribution.uniform(decisions(lengths))
    for _ in range(prunings):
        rows = [rng.dirichlet(np.ones(k)) for k in lengths]
        distribution = distribution.with_rows(rows).prune(1, rng)
    return distribution


def test_a_search_starts_uniform():
    distribution = JointDistribution.uniform(decisions([2, 4]))
    assert distribution.theta["d1"].tolist() == [0.25] * 4
    assert distribution.entropy() == pytest.approx(math.log(2) + math.log(4))


@given(sizes, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_a_fair_cycle_uses_every_survivor_equally_often(lengths, prunings, seed):
    distribution = random_distribution(lengths, seed, prunings)
    cycle = distribution.fair_cycle(np.random.default_rng(seed))
    longest = max(len(s) for s in distribution.survivors.values())
    assert len(cycle) == longest
    for name, survivors in distribution.survivors.items():
        used = [architecture[name] for architecture in cycle]
        counts = [used.count(option) for option in survivors]
        assert sum(counts) == longest, "a pruned option was sampled"
        assert max(counts) - min(counts) <= 1
        if len(survivors) == longest:
            assert counts == [1] * longest


def test_the_permutations_of_a_cycle_are_independent_and_uniform():
    distribution = JointDistribution.uniform(decisions([3, 3]))
    rng = np.random.default_rng(0)
    seen = [tuple(distribution.fair_cycle(rng)[0].values()) for _ in range(4500)]
    counts = [seen.count(pair) for pair in itertools.product(["o0", "o1", "o2"], repeat=2)]
    assert sum(counts) == 4500 and all(420 < count < 580 for count in counts)


@given(sizes, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_pruning_takes_the_least_likely_survivor_and_keeps_its_probability(lengths, keep, seed):
    rng = np.random.default_rng(seed)
    before = random_distribution(lengths, seed, prunings=1)
    after = before.prune(keep, rng)
    for name, survivors in before.survivors.items():
        gone = set(survivors) - set(after.survivors[name])
        if len(survivors) <= keep:
            assert not gone
            continue
        (pruned,) = gone
        theta = before.theta[name]
        options = next(d.options for d in before.decisions if d.name == name)
        least = min(theta[options.index(option)] for option in survivors)
        assert theta[options.index(pruned)] == least
        assert after.theta[name].tolist() == theta.tolist()


def test_ties_are_broken_by_the_generator():
    distribution = JointDistribution.uniform(decisions([4]))
    pruned = [
        next(iter(set("0123") - {o[1] for o in distribution.prune(1, rng).survivors["d0"]}))
        for rng in map(np.random.default_rng, range(400))
    ]
    assert all(60 < pruned.count(option) < 140 for option in "0123")


@given(sizes, st.integers(0, 2**32 - 1))
def test_the_mode_is_the_most_likely_combination_of_survivors(lengths, seed):
    distribution = random_distribution(lengths, seed, prunings=2)
    best = max(
        itertools.product(*distribution.survivors.values()),
        key=lambda options: distribution.log_prob(dict(zip(distribution.theta, options))),
    )
    mode = distribution.mode()
    chosen = dict(zip(distribution.theta, best))
    assert distribution.log_prob(mode) == pytest.approx(distribution.log_prob(chosen))


def test_pruned_options_are_not_decoded_although_they_are_likelier():
    distribution = JointDistribution.uniform(decisions([3]))
    distribution = distribution.with_rows([np.array([0.1, 0.3, 0.6])]).prune(
        1, np.random.default_rng(0)
    )
    likelier = distribution.with_rows([np.array([0.8, 0.1, 0.1])])
    assert likelier.mode()["d0"] == "o1" and likelier.theta["d0"][0] == pytest.approx(0.8)


@given(sizes, st.integers(0, 2**32 - 1))
def test_probabilities_of_all_architectures_sum_to_one(lengths, seed):
    distribution = random_distribution(lengths, seed, prunings=1)
    names = list(distribution.theta)
    options = [d.options for d in distribution.decisions]
    total = sum(
        math.exp(distribution.log_prob(dict(zip(names, choice))))
        for choice in itertools.product(*options)
    )
    assert total == pytest.approx(1)


def test_entropy_is_zero_once_everything_is_decided():
    distribution = random_distribution([3, 2], 0, prunings=3)
    assert distribution.entropy() == 0
    zeros = JointDistribution.uniform(decisions([3])).with_rows([np.array([0.0, 0.5, 0.5])])
    assert zeros.entropy() == pytest.approx(math.log(2))


@given(sizes, st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_json_keeps_every_bit(lengths, prunings, seed):
    before = random_distribution(lengths, seed, prunings)
    after = JointDistribution.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after.decisions == before.decisions and after.survivors == before.survivors
    for a, b in zip(after.rows, before.rows):
        assert a.tolist() == b.tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda d: d["theta"]["d1"].update(o0=math.nan),
            r"theta.d1.o0 must be a number from 0 to 1, not nan",
        ),
        (
            lambda d: d["theta"]["d1"].update(o0=-0.25),
            r"theta.d1.o0 must be a number from 0 to 1, not -0.25",
        ),
        (lambda d: d["theta"]["d1"].update(o0=0.5), "'d1' must be probabilities that sum to 1"),
        (
            lambda d: d["theta"]["d1"].pop("o0"),
            "'d1' must have an entry for each of o0, o1, o2, o3",
        ),
        (
            lambda d: d["theta"].pop("d1"),
            "theta and survivors must have an entry for each decision",
        ),
        (lambda d: d["survivors"].update(d1=[]), "no option of decision 'd1' survives"),
        (lambda d: d["survivors"].update(d1=["x"]), "survivors of decision 'd1' must be some of"),
        (
            lambda d: d["survivors"].update(d1="o0"),
            "survivors.d1 must be a list of texts, not 'o0'",
        ),
        (lambda d: d.pop("decisions"), "decisions is missing; it must be a list"),
    ],
)
def test_data_that_describe_no_distribution_are_refused(change, says):
    data = JointDistribution.uniform(decisions([2, 4])).to_dict()
    change(data)
    with pytest.raises(SpaceError, match=says):
        JointDistribution.from_dict(data)


def test_rows_that_are_no_probabilities_are_refused():
    start = JointDistribution.uniform(decisions([2, 3]))
    for row in ([math.nan, 0.5, 0.5], [-0.5, 1.0, 0.5], [0.5, 0.5, 0.5], [math.inf, 0.0, 0.0]):
        with pytest.raises(SpaceError, match="'d1' must be probabilities that sum to 1"):
            JointDistribution(start.decisions, (start.rows[0], np.array(row)), start.alive)
    with pytest.raises(SpaceError, match="an entry for each option"):
        JointDistribution(start.decisions, start.rows[:1], start.alive)
