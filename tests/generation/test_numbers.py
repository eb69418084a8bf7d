"""Costs of any size: sums are exact, and limits hold to the last unit."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, frontier, generate, top_k
from ddpnas.errors import DataError, InfeasibleError, OptionError
from ddpnas.generation import Limit, cost_bounds, sample_within
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import amount
from ddpnas.space import Decision, DecisionSpace
from tests.generation.problems import everything

EDGE = 2**53

# Numbers of one table, and what brings them to whole Python numbers.
NUMBERS = {
    "counts": (st.integers(0, 9), 1),
    "around 2**53": (st.integers(EDGE // 3 - 3, EDGE // 3 + 3), 1),
    "beyond 64 bits": (st.integers(2**70 - 3, 2**70 + 3), 1),
    "signed and far beyond": (st.integers(-3, 3).map(lambda n: n * 10**30 + n % 2), 1),
    "tenths": (st.integers(0, 9).map(lambda n: n / 10), 10),
    "denormal": (st.integers(0, 4).map(lambda n: n * 5e-324), Fraction(10**324, 5)),
    "1e300 beside 5e-324": (st.sampled_from([1e300, 5e-324, 0.1, 1]), 10**324),
    "calculated": (st.integers(1, 9).map(lambda n: n * 0.1 + 0.1 / 3), 2**60),
}


def whole(number, scale):
    """Return the number as it is written, or by its binary value if that takes 16 digits."""
    short = len(repr(number).split("e")[0].replace(".", "").strip("0")) <= 15
    exactly = Fraction(repr(number)) if short else Fraction(number)
    assert (exactly * scale).denominator == 1
    return int(exactly * scale)


@pytest.mark.parametrize("kind", NUMBERS)
@settings(max_examples=8)
@given(data=st.data())
def test_every_answer_is_that_of_whole_python_numbers(kind, data):
    numbers, scale = NUMBERS[kind]
    decisions = [Decision(f"d{i}", tuple("abc")) for i in range(data.draw(st.integers(1, 4)))]
    space = DecisionSpace(decisions)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows = [rng.dirichlet(np.ones(3)).round(1) + 0.01 for _ in decisions]
    distribution = JointDistribution.uniform(decisions).with_rows(rows)
    terms = {((d.name, o),): data.draw(numbers) for d in decisions for o in d.options}
    table = CostTable("c", "units", data.draw(numbers), terms)
    counts = {key: whole(cost, scale) for key, cost in terms.items()}

    def total(architecture):
        return whole(table.fixed, scale) + sum(counts[pair,] for pair in architecture.items())

    every = sorted(everything(space), key=total)
    limit = table.cost(every[data.draw(st.integers(0, len(every) - 1))])
    costs, limits = {"c": table}, {"c": limit}
    for one in every:
        exactly = Fraction(total(one)) / scale
        assert float(table.cost(one)) == float(exactly)
        assert table.cost(one) == exactly or scale != 1

    def theta(architecture):
        return math.fsum(
            row[d.index(architecture[d.name])] for d, row in zip(decisions, distribution.rows)
        )

    inside = [one for one in every if table.cost(one) <= limit]
    best = max(map(theta, inside))
    # The program's own numbers span 1e9; beyond that it tries one architecture after the other.
    for solver in ("auto", "program")[: 1 if scale == 10**324 else 2]:
        found, _ = next(Problem(space, costs, method=solver).best(
            distribution.rows, {"c": Limit(upper=limit)}
        ))  # fmt: skip
        assert table.cost(found) <= limit
        assert theta(found) == pytest.approx(best, abs=1e-9)
    listed = top_k(distribution, space, 5, limits, costs, objective="theta")
    assert [theta(one.architecture) for one in listed] == pytest.approx(
        sorted(map(theta, inside), reverse=True)[:5], abs=1e-9
    )
    assert all(one.margin["c"] >= 0 for one in listed)
    assert table.cost(sample_within(space, limits, costs, rng, tries=2)) <= limit
    curve = frontier(distribution, space, "c", limits, costs, objective="theta")
    assert theta(curve[-1].architecture) == pytest.approx(best, abs=1e-9)
    assert cost_bounds(table, space) == (table.cost(every[0]), table.cost(every[-1]))
    less = table.cost(every[0])
    less = less - 1 if isinstance(less, int) else math.nextafter(less, -math.inf)
    with pytest.raises(InfeasibleError) as raised:
        generate(distribution, space, {"c": less}, costs)
    assert raised.value.unmet[0].reachable == table.cost(every[0])


def one_choice(**costs):
    space = DecisionSpace([Decision("op", tuple(costs))])
    table = CostTable("energy", "J", 0, {(("op", o),): cost for o, cost in costs.items()})
    return JointDistribution.uniform(space.decisions), space, {"energy": table}


def test_a_limit_of_2_to_the_53_and_one_is_met_exactly():
    problem = one_choice(a=EDGE + 1, b=EDGE + 2)
    for limit in (EDGE + 1, str(EDGE + 1), "9,007,199,254,740,993"):
        distribution, space, costs = problem
        found = generate(distribution, space, {"energy": limit}, costs)
        assert found.costs == {"energy": EDGE + 1} and found.margin == {"energy": 0}
    with pytest.raises(InfeasibleError, match=r"<= 9,007,199,254,740,992 .* 9,007,199,254,740,993"):
        generate(distribution, space, {"energy": EDGE}, costs)


def test_costs_that_are_not_numbers_or_too_large_are_refused_in_a_sentence():
    for bad in (math.nan, math.inf, "3", None, True):
        with pytest.raises(DataError, match=r"table 'energy': the cost of op=a is .* not a finite"):
            one_choice(a=bad)
    with pytest.raises(DataError, match="table 'c': fixed is nan"):
        CostTable("c", "u", math.nan, {})
    with pytest.raises(DataError, match="add up to more than a float holds"):
        CostTable("c", "u", sys.float_info.max, {(("op", "a"),): sys.float_info.max})
    for bad in (10**400, -(10**400)):
        with pytest.raises(DataError, match="add up to more than a float holds"):
            CostTable("c", "u", bad, {})


def test_limits_are_what_is_written():
    assert Limit.parse("8.2M") == Limit(upper=8_200_000)
    assert all(
        Limit.parse(f"{n / 1000}M").upper == 1000 * n for n in range(1, 5000)
    )  # 1.001 * 1e6 is less than 1,001,000 in floats
    assert Limit.parse("7%", of=300).upper == 21
    assert Limit.parse(10**400) == Limit() and Limit.parse(EDGE + 1).upper == EDGE + 1
    for bad in (None, [1, 2], (1,), (1, 2, 3), {"upper": 3}, (None, 3)):
        with pytest.raises(OptionError, match="a limit is a number, a pair"):
            Limit.parse(bad)
    for bad in ("1e400", "1/2", "1e308G"):
        with pytest.raises(OptionError, match="cannot read the limit"):
            Limit.parse(bad)
    assert Limit.parse("1e-999999999").upper == 0


def test_amounts_that_differ_are_told_apart():
    assert amount(1e300) == "1e+300" and amount(EDGE + 1) == "9,007,199,254,740,993"
    distribution, space, costs = one_choice(a=0.30000000000000004)
    with pytest.raises(InfeasibleError, match=r"energy <= 0\.3 .* is 0\.30000000000000004 J"):
        generate(distribution, space, {"energy": 0.3}, costs)
