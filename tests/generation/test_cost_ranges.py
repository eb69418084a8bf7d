"""Least, median and most of each cost of a space."""

import itertools
import statistics

import pytest

from ddpnas import DecisionSpace, Rule, count_costs, create_space
from ddpnas.costs import cost_ranges

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
