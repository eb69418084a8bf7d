"""The whole trade-off curve, against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, Rule, create_space, frontier, generate
from ddpnas.errors import InfeasibleError, OptionError, SpaceError
from ddpnas.space import Decision, DecisionSpace
from tests.generation.problems import everything, objectives, problems, value, within


def points_of(space, distribution, costs, limits, axes, objective):
    """Return {costs: value} of all that nothing dominates, by comparing all with all."""
    points = {}
    for architecture in everything(space):
        if within(architecture, costs, limits):
            at = tuple(costs[name].cost(architecture) for name in axes)
            here = value(architecture, space, distribution, objective)
            here = tuple(round(part, 10) for part in here)
            points[at] = max(here, points.get(at, here))

    def dominated(at, here):
        return any(
            other != at and all(a <= b for a, b in zip(other, at)) and there >= here
            for other, there in points.items()
        )

    return {at: here for at, here in points.items() if not dominated(at, here)}


def close(a, b):
    return all(x == pytest.approx(y, rel=1e-9, abs=1e-9) for x, y in zip(a, b))


@settings(max_examples=300)
@given(problems(least_costs=1), objectives(), st.integers(1, 2))
def test_the_frontier_is_every_point_that_nothing_dominates(problem, objective, how_many):
    space, distribution, costs, limits = problem
    axes = list(costs)[:how_many]
    expected = points_of(space, distribution, costs, limits, axes, objective)
    if not expected:
        with pytest.raises(InfeasibleError):
            frontier(distribution, space, axes, limits, costs, objective=objective)
        return
    found = frontier(distribution, space, axes, limits, costs, objective=objective)
    networks = [space.canonical(one.architecture) for one in found]
    if how_many == 1:
        assert all(one != after for one, after in itertools.pairwise(networks))
    for one in found:
        assert within(one.architecture, costs, limits)
        assert all(rule.holds(one.architecture) for rule in space.rules)
        at = tuple(one.costs[name] for name in axes)
        assert close(value(one.architecture, space, distribution, objective), expected[at])
    assert [one.costs[axes[0]] for one in found] == sorted(one.costs[axes[0]] for one in found)
    if all(not d.active_when for d in space.decisions):
        assert len(found) == len(expected)


@pytest.mark.parametrize("small", [0.0, 1e-9])
def test_what_rounding_alone_makes_better_is_no_point_of_the_frontier(small):
    decisions = [Decision("d", ("a", "b", "c")), Decision("e", ("a", "b", "c"))]
    rows = [np.array([0.4, 0.6, 0.0]) + small, np.array([0.1, 0.3, 0.6]) + small]
    distribution = JointDistribution.uniform(decisions).with_rows(rows)
    terms = {  # b and a are worth what a and b are: 0.6 + 0.1 and 0.4 + 0.3
        (("d", "b"),): 1.0,
        (("e", "b"),): 1.5,
        (("d", "c"),): 9.0,
        (("e", "c"),): 9.0,
    }
    found = frontier(
        distribution, DecisionSpace(decisions), "c", {}, {"c": CostTable("c", "u", 0, terms)},
        objective="theta",
    )  # fmt: skip
    assert [one.costs["c"] for one in found] == [0.0, 1.0, 2.5, 9.0, 10.0]


def realistic(seed, costs=1, decisions=21, options=7):
    rng = np.random.default_rng(seed)
    made = [Decision(f"d{i}", tuple("abcdefghij"[:options])) for i in range(decisions)]
    space = DecisionSpace(made)
    rows = [rng.dirichlet(np.ones(options)) for _ in made]
    tables = {
        f"c{i}": CostTable(
            f"c{i}", "units", 5, {((d.name, o),): int(rng.integers(10**7)) for d in made
                                  for o in d.options}
        )
        for i in range(costs)
    }  # fmt: skip
    return JointDistribution.uniform(made).with_rows(rows), space, tables


def test_every_budget_of_a_realistic_size_has_the_optimum_of_generate():
    distribution, space, costs = realistic(0)
    found = frontier(distribution, space, "c0", None, costs)
    assert len(found) > 50
    assert found[-1].architecture == distribution.mode()
    values = [one.certificate.objective for one in found]
    assert values == sorted(values) and len(set(values)) == len(values)
    for i in np.random.default_rng(0).integers(1, len(found), 8).tolist():
        for budget, best in (
            (found[i].costs["c0"], found[i]),
            (found[i].costs["c0"] - 1, found[i - 1]),
        ):
            exact = generate(distribution, space, {"c0": budget}, costs)
            assert exact.architecture == best.architecture


def test_equal_networks_are_one_point():
    inner = Decision("inner", ("a", "b"), active_when=(("outer", "nested"),))
    space = DecisionSpace([Decision("outer", ("plain", "nested")), inner])
    terms = {(("outer", "plain"),): 1, (("inner", "b"),): 1, (("outer", "nested"),): 9}
    uniform = JointDistribution.uniform(space.decisions)
    distribution = uniform.with_rows([np.array([0.5, 0.5]), np.array([0.4, 0.6])])
    found = frontier(distribution, space, "c", None, {"c": CostTable("c", "u", 0, terms)})
    assert [dict(one.architecture) for one in found] == [{"outer": "plain", "inner": "a"}]


def test_every_budget_has_the_network_of_generate_where_many_architectures_are_one_network():
    space = create_space("nasbench201", channels=2, cells_per_stage=1, input_shape=(1, 8, 8))
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(5)) for _ in space.decisions]
    distribution = JointDistribution.uniform(space.decisions).with_rows(rows)
    price = dict(zip(space.decisions[0].options, (0, 1, 7, 12, 3)))
    terms = {((d.name, o),): price[o] for d in space.decisions for o in d.options}
    costs = {"c": CostTable("c", "u", 0, terms)}
    found = frontier(distribution, space, "c", None, costs)
    for budget in range(0, 73, 2):
        named = [one for one in found if one.costs["c"] <= budget][-1]
        best = generate(distribution, space, {"c": budget}, costs)
        assert space.canonical(named.architecture) == space.canonical(best.architecture)


def test_rules_may_be_given_too_and_limits_on_other_costs():
    distribution, space, costs = realistic(1, costs=2, decisions=6)
    rule = Rule({(d.name, "a"): 1 for d in space.decisions}, "two a", 2, 2)
    free = frontier(distribution, space, "c0", None, costs)
    limit = np.median([one.costs["c1"] for one in free])
    found = frontier(distribution, space, "c0", {"c1": limit}, costs, rules=[rule])
    assert all(list(one.architecture.values()).count("a") == 2 for one in found)
    assert all(one.margin["c1"] >= 0 for one in found)


def test_a_cost_without_a_table_is_told():
    distribution, space, costs = realistic(1, decisions=2)
    with pytest.raises(OptionError, match="did you mean 'c0'"):
        frontier(distribution, space, "c1", None, costs)


def test_a_table_of_another_space_is_refused_even_if_it_is_only_reported():
    distribution, space, costs = realistic(1, decisions=2)
    costs = {**costs, "ms": CostTable("ms", "ms", 0, {(("elsewhere", "x"),): 1.0})}
    with pytest.raises(SpaceError):
        generate(distribution, space, costs=costs)
    with pytest.raises(SpaceError):
        frontier(distribution, space, "c0", costs=costs)
