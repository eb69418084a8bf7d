"""Least, median and most of each cost of a space."""

import itertools
import statistics

import pytest
from hypothesis import given, settings

from ddpnas import CostTable, Rule, count_costs, create_space
from ddpnas.errors import InfeasibleError
from ddpnas.generation._problem import Problem
from ddpnas.generation.cost_ranges import cost_bounds, cost_ranges
from ddpnas.space import Decision, DecisionSpace
from tests.generation.problems import everything, problems

TOY = create_space("toy")


def test_least_and_most_are_those_of_all_architectures():
    costs = count_costs(TOY)
    for found in cost_ranges(TOY, costs):
        table = costs[found.name]
        every = [table.cost(TOY.decode(i)) for i in itertools.product(range(3), repeat=4)]
        assert (found.least, found.most) == (min(every), max(every))
        assert found.median == pytest.approx(statistics.median(every), rel=0.1)
        assert found.unit == table.unit


def test_what_the_rules_forbid_does_not_count():
    convolutions = {(d.name, o): 1.0 for d in TOY.decisions for o in d.options if o != "skip"}
    space = DecisionSpace(TOY.decisions, [Rule(convolutions, says="one", lower=1.0, upper=1.0)])
    costs = count_costs(TOY)
    found = {r.name: r for r in cost_ranges(space, costs)}["params"]
    all_skip = costs["params"].cost({d.name: "skip" for d in TOY.decisions})
    assert all_skip < found.least < found.most < max(r.most for r in cost_ranges(TOY, costs))


@settings(max_examples=150)
@given(problems(least_costs=1))
def test_bounds_are_the_least_and_most_of_all_architectures(problem):
    space, _, costs, _ = problem
    every = list(everything(space))
    for table in costs.values():
        if not every:
            with pytest.raises(InfeasibleError):
                cost_bounds(table, space)
            continue
        reached = [table.cost(architecture) for architecture in every]
        assert cost_bounds(table, space) == pytest.approx((min(reached), max(reached)), rel=1e-14)


def test_bounds_of_rules_that_tell_too_many_sums_apart_are_exact_too():
    names = [f"d{i}" for i in range(22)]
    weights = {(n, "y"): 1.0 + i * 2.0**-i for i, n in enumerate(names)}
    space = DecisionSpace([Decision(n, ("x", "y")) for n in names], [Rule(weights, "r", lower=12)])
    table = CostTable("c", "u", 0, {(pair,): 2 for pair in weights})
    assert Problem(space, {"c": table}).diagram is None
    few = sorted(weights.values(), reverse=True)
    least = next(k for k in range(len(few)) if sum(few[:k]) >= 12)
    assert cost_bounds(table, space) == (2 * least, 2 * len(names))
