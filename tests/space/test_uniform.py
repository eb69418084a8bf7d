"""Drawing under rules: exact, and uniform."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import JointDistribution, Rule, top_k
from ddpnas.errors import SpaceError
from ddpnas.generation._milp import ZeroOneProgram
from ddpnas.space import Decision, DecisionSpace
from ddpnas.space._uniform import UniformSampler
from ddpnas.strategies.legal import RuleMatrix


@st.composite
def ruled_spaces(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    rules, bounds = [], []
    for _ in range(draw(st.integers(0, 3))):
        rules.append(
            [
                draw(st.none() | st.lists(st.integers(-2, 3), min_size=size, max_size=size))
                for size in sizes
            ]
        )
        low = draw(st.integers(-3, 4))
        bounds.append((low, low + draw(st.integers(0, 4))))
    return sizes, rules, bounds


def valid(sizes, rules, bounds):
    for choices in itertools.product(*map(range, sizes)):
        sums = [
            sum(row[choice] for row, choice in zip(rule, choices, strict=True) if row is not None)
            for rule in rules
        ]
        if all(low <= total <= up for total, (low, up) in zip(sums, bounds, strict=True)):
            yield choices


@given(ruled_spaces())
@settings(max_examples=60)
def test_it_counts_and_draws_what_obeys_the_rules(space):
    sampler = UniformSampler(*space)
    expected = set(valid(*space))
    assert sampler.count == len(expected)
    if expected:
        rng = np.random.default_rng(0)
        assert {tuple(sampler.draw(rng)) for _ in range(10)} <= expected


def test_every_valid_architecture_is_drawn_equally_often():
    sizes, rules, bounds = [3, 3, 3], [[[0, 1, 2]] * 3], [(5, 6)]
    sampler = UniformSampler(sizes, rules, bounds)
    rng = np.random.default_rng(0)
    counts = Counter(tuple(sampler.draw(rng)) for _ in range(4_000))
    assert set(counts) == set(valid(sizes, rules, bounds)) and len(counts) == 4
    assert all(abs(count - 1_000) < 150 for count in counts.values())  # 5 standard deviations


def test_a_rule_that_one_in_a_billion_obeys_costs_nothing():
    decisions = [Decision(f"d{i}", ("a", "b")) for i in range(40)]
    only_b = Rule({(d.name, "b"): 1.0 for d in decisions}, says="all b", lower=40.0)
    space = DecisionSpace(decisions, [only_b])
    assert space.valid_size == 1
    assert set(space.sample(np.random.default_rng(0)).values()) == {"b"}


def test_rules_that_nothing_obeys_are_told():
    rule = Rule({("d", "a"): 1.0}, says="never", lower=2.0)
    space = DecisionSpace([Decision("d", ("a", "b"))], [rule])
    assert space.valid_size == 0
    with pytest.raises(SpaceError, match="no architecture obeys the rules"):
        space.sample(np.random.default_rng(0))


def test_rules_too_uneven_to_count_are_met_by_drawing_again():
    rng = np.random.default_rng(0)
    decisions = [Decision(f"d{i}", ("a", "b")) for i in range(24)]
    weights = {(d.name, o): float(rng.random()) for d in decisions for o in d.options}
    rule = Rule(weights, says="light", upper=12.0)
    space = DecisionSpace(decisions, [rule])
    assert space.valid_size is None
    assert rule.holds(space.sample(rng))


def test_without_rules_the_draws_are_plain():
    space = DecisionSpace([Decision("d", ("a", "b", "c")), Decision("e", ("a", "b"))])
    drawn = space.sample(np.random.default_rng(5))
    assert space.encode(drawn) == tuple(np.random.default_rng(5).integers([3, 2]))
    assert space.valid_size == space.size == 6


def test_three_tenths_are_within_an_end_of_0_3():
    decisions = [Decision(f"d{i}", ("off", "on")) for i in range(3)]
    weights = {(d.name, "on"): 0.1 for d in decisions}
    for rule, count in (
        (Rule(weights, says="light", upper=0.3), 8),
        (Rule(weights, says="heavy", lower=0.3), 1),
        (Rule({pair: 1 / 3 for pair in weights}, says="all", lower=1.0), 1),
        (Rule({pair: 2**53 + 1 for pair in weights}, says="few", upper=2 * (2**53 + 1)), 7),
    ):
        space = DecisionSpace(decisions, [rule])
        assert space.valid_size == count
        assert space.valid_size == sum(
            rule.holds(space.decode(indices)) for indices in itertools.product((0, 1), repeat=3)
        )


WEIGHTS = st.one_of(
    st.integers(-3, 30).map(lambda tenths: tenths / 10),
    st.integers(-2, 2).map(lambda n: n * (2**53 + 1)),
    st.sampled_from([1 / 3, 1e-9, 1e300, 5e-324, 0.1 + 0.2]),
)


@settings(max_examples=20)
@given(st.data())
def test_counting_drawing_checking_and_solving_agree_on_any_rule(data):
    decisions = [Decision(f"d{i}", tuple("abc")) for i in range(data.draw(st.integers(1, 4)))]
    pairs = [(d.name, option) for d in decisions for option in d.options]
    weights = data.draw(st.dictionaries(st.sampled_from(pairs), WEIGHTS, min_size=1))
    ends = sorted([data.draw(WEIGHTS), data.draw(WEIGHTS)])
    space = DecisionSpace(decisions, [rule := Rule(weights, "any", *ends)])
    every = list(itertools.product(range(3), repeat=len(decisions)))
    legal = [indices for indices in every if rule.holds(space.decode(indices))]
    assert space.valid_size == len(legal)
    assert RuleMatrix(decisions, [rule]).holds(np.array(every)).sum() == len(legal)
    uniform = JointDistribution.uniform(decisions)
    if legal:
        assert {space.encode(one.architecture) for one in top_k(uniform, space, 81)} == {*legal}
        space.check(space.sample(np.random.default_rng(0)))
    program = ZeroOneProgram(space, {}).maximize(np.zeros(len(pairs)), {})
    assert (program is not None) == bool(legal)


@pytest.mark.parametrize("changes", [{"upper": np.nan}, {"weights": {("d", "a"): np.inf}}])
def test_a_rule_over_what_is_no_number_is_refused(changes):
    with pytest.raises(SpaceError, match="rule 'r' .* (nan|inf)"):
        Rule(**{"weights": {("d", "a"): 1.0}, "says": "r"} | changes)
