import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, frontier, generate, top_k
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.generation import sample_within
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import checked_limits
from ddpnas.space import Decision, DecisionSpace
from tests.generation.problems import everything, objectives, problems, value, within


@settings(max_examples=200)
@given(problems(), objectives())
def test_generate_is_the_optimum_that_brute_force_finds(problem, objective):
    space, distribution, costs, limits = problem
    feasible = [a for a in everything(space) if within(a, costs, limits)]
    if not feasible:
        with pytest.raises(InfeasibleError):
            generate(distribution, space, limits, costs, objective=objective)
        return
    found = generate(distribution, space, limits, costs, objective=objective)
    assert within(found.architecture, costs, limits)
    assert all(rule.holds(found.architecture) for rule in space.rules)
    best = max(value(a, space, distribution, objective) for a in feasible)
    reached = value(found.architecture, space, distribution, objective)
    assert reached == pytest.approx(best, abs=1e-8)
    assert found.certificate.gap <= 1e-8
    for name in limits:
        assert found.margin[name] >= 0
        assert found.costs[name] == costs[name].cost(found.architecture)


def test_a_limit_is_met_to_the_last_unit_at_realistic_sizes():
    rng = np.random.default_rng(0)
    decisions = [Decision(f"d{i}", tuple("abcdefg")) for i in range(21)]
    space = DecisionSpace(decisions)
    for _ in range(5):
        rows = [rng.dirichlet(np.ones(7)) for _ in decisions]
        distribution = JointDistribution.uniform(decisions).with_rows(rows)
        terms = {((d.name, o),): int(rng.integers(1, 10**8)) for d in decisions for o in d.options}
        table = CostTable("macs", "MACs", 12345, terms)
        some = table.cost(space.sample(rng))
        exactly = generate(distribution, space, {"macs": some}, {"macs": table})
        assert exactly.costs["macs"] <= some
        # Forbidding the cost reached by a single unit gives something strictly else.
        limit = exactly.costs["macs"] - 1
        less = generate(distribution, space, {"macs": limit}, {"macs": table})
        assert less.costs["macs"] <= limit
        assert less.log_prob <= exactly.log_prob


@settings(max_examples=200)
@given(problems(), objectives(), st.integers(1, 12))
def test_top_k_are_the_k_best_networks_that_brute_force_finds(problem, objective, k):
    space, distribution, costs, limits = problem
    classes = {}
    for architecture in everything(space):
        if within(architecture, costs, limits):
            here = value(architecture, space, distribution, objective)
            network = space.canonical(architecture)
            classes[network] = max(here, classes.get(network, here))
    if not classes:
        with pytest.raises(InfeasibleError):
            top_k(distribution, space, k, limits, costs, objective=objective)
        return
    found = top_k(distribution, space, k, limits, costs, objective=objective)
    assert len({space.canonical(one.architecture) for one in found}) == len(found)
    assert len(found) == min(k, len(classes))
    assert all(within(one.architecture, costs, limits) for one in found)
    expected = sorted(classes.values(), reverse=True)
    for one, best in zip(found, expected):
        reached = value(one.architecture, space, distribution, objective)
        assert reached == pytest.approx(best, abs=1e-8)
        assert one.certificate.gap <= 1e-8


@settings(max_examples=60)
@given(problems(), st.integers(1, 4))
def test_the_program_finds_the_same_as_the_diagram(problem, k):
    space, distribution, costs, limits = problem
    checked = checked_limits(limits, costs)
    values = []
    for method in ("auto", "program"):
        solver = Problem(space, {n: costs[n] for n in limits}, method=method)
        found = itertools.islice(solver.best(distribution.rows, checked), k)
        values.append([value(a, space, distribution, "theta")[0] for a, _ in found])
    assert values[0] == pytest.approx(values[1], abs=1e-8)


def test_nested_decisions_do_not_hide_further_networks():
    inner = [Decision(f"d{i}", tuple("abcdefg"), (("outer", "deep"),)) for i in range(9)]
    space = DecisionSpace([Decision("outer", ("plain", "deep", "other")), *inner])
    uniform = JointDistribution.uniform(space.decisions)
    rows = [np.array([0.6, 0.1, 0.3]), *(np.arange(7.0, 0, -1) for _ in inner)]
    found = top_k(uniform.with_rows(rows), space, 4)
    assert [one.architecture["outer"] for one in found] == ["plain", "other", "deep", "deep"]


def whole_architectures(decisions, options=3):
    """Return a space and a table with a term for each of its architectures."""
    made = [Decision(f"d{i}", tuple("abcdefg"[:options])) for i in range(decisions)]
    space = DecisionSpace(made)
    rng = np.random.default_rng(0)
    terms = {tuple(a.items()): int(rng.integers(1, 10**6)) for a in everything(space)}
    return space, CostTable("ms", "ms", 5, terms)


@pytest.mark.parametrize("method", ["auto", "program"])
def test_a_table_of_whole_architectures_is_solved_exactly(method):
    space, table = whole_architectures(4)
    distribution = JointDistribution.uniform(space.decisions).with_rows(
        [np.random.default_rng(i).dirichlet(np.ones(3)) for i in range(4)]
    )
    costs = {"ms": table}
    every = sorted(everything(space), key=lambda a: -value(a, space, distribution, "theta")[0])
    for limit in (200_000, 500_000):
        solver = Problem(space, costs, method=method)
        found = itertools.islice(
            solver.best(distribution.rows, checked_limits({"ms": limit}, costs)), 3
        )
        expected = [a for a in every if within(a, costs, {"ms": limit})][:3]
        assert [dict(a) for a, _ in found] == expected
    assert table.cost(solver.extreme("ms", 1.0, {})) == 5 + min(table.terms.values())


def test_a_table_of_thousands_of_whole_architectures_is_solved():
    space, table = whole_architectures(5, options=5)  # 3,125 terms of five choices
    uniform = JointDistribution.uniform(space.decisions)
    cheapest = min(table.terms.values())
    found = generate(uniform, space, {"ms": 5 + cheapest}, {"ms": table})
    assert table.terms[tuple(found.architecture.items())] == cheapest
    curve = frontier(uniform, space, "ms", None, {"ms": table})
    assert curve[0].costs["ms"] == 5 + cheapest
    with pytest.raises(InfeasibleError, match=f"lowest possible is {5 + cheapest:,}"):
        generate(uniform, space, {"ms": 5}, {"ms": table})


def test_a_table_of_whole_architectures_has_a_diagram_whatever_its_size(monkeypatch):
    for limit in ("_MANY_ARCS", "_MOST_ARCS"):
        monkeypatch.setattr(f"ddpnas.generation._diagram.{limit}", 50)
    space, table = whole_architectures(4)  # 81 terms, 120 arcs; the program would take minutes
    assert Problem(space, {"ms": table}).diagram is not None


def test_the_order_of_choices_in_a_term_does_not_matter():
    _, space, _ = two_costs()
    joint = {(("a", "big"), ("b", "small")): 10, (("b", "small"), ("a", "big")): 20}
    table = CostTable("ms", "ms", 0, joint)
    for method in ("auto", "program"):
        most = Problem(space, {"ms": table}, method=method).extreme("ms", -1.0, {})
        assert table.cost(most) == 30


def two_costs():
    space = DecisionSpace([Decision("a", ("big", "small")), Decision("b", ("big", "small"))])
    terms = {((d, o),): 60 if o == "big" else 20 for d in "ab" for o in ("big", "small")}
    macs = CostTable("macs", "MACs", 10, terms)
    params = CostTable("params", "parameters", 0, {k: 80 - v for k, v in terms.items()})
    return JointDistribution.uniform(space.decisions), space, {"macs": macs, "params": params}


@pytest.mark.parametrize(
    ("limits", "says", "conflict"),
    [
        ({"macs": 49}, r"macs <= 49 cannot .* 50 MACs, with a=small;b=small", {"macs <=": 50}),
        ({"macs": (131, 1e9)}, r"macs >= 131 cannot .* highest possible is 130", {"macs >=": 130}),
        (
            {"params": 80, "macs": (20, 60)},
            r"params <= 80 and macs <= 60 cannot be met together.*lowest possible macs is 90 MACs",
            {"params <=": 120, "macs <=": 90},
        ),
        ({"macs": (51, 89)}, "macs <= 89 and macs >= 51", {"macs <=": 90, "macs >=": 50}),
        ({"macs": 130, "params": (0, 39)}, r"limit params <= 39 .* is 40", {"params <=": 40}),
    ],
)
def test_infeasible_says_which_limits_conflict_and_what_can_be_reached(limits, says, conflict):
    distribution, space, costs = two_costs()
    with pytest.raises(InfeasibleError, match=says) as raised:
        generate(distribution, space, limits, costs)
    unmet = raised.value.unmet
    assert {f"{one.name} {one.relation}": one.reachable for one in unmet} == conflict
    for one in unmet:
        assert costs[one.name].cost(one.architecture) == one.reachable


@settings(max_examples=150)
@given(problems(least_costs=1))
def test_the_limits_said_to_conflict_do_and_no_fewer(problem):
    space, distribution, costs, limits = problem
    every = list(everything(space))
    if any(within(a, costs, limits) for a in every):
        return
    with pytest.raises(InfeasibleError) as raised:
        generate(distribution, space, limits, costs)

    def holds(one, architecture):
        cost = costs[one.name].cost(architecture)
        return cost <= one.limit if one.relation == "<=" else cost >= one.limit

    unmet = raised.value.unmet
    assert bool(unmet) == bool(every)
    for left_out in unmet:
        others = [one for one in unmet if one is not left_out]
        possible = [a for a in every if all(holds(one, a) for one in others)]
        assert possible and not any(holds(left_out, a) for a in possible)
        reached = [costs[left_out.name].cost(a) for a in possible]
        best = min(reached) if left_out.relation == "<=" else max(reached)
        assert left_out.reachable == pytest.approx(best, rel=1e-12)


def test_survivors_only_leaves_out_what_was_pruned():
    decisions = (Decision("a", ("x", "y", "z")),)
    space = DecisionSpace(decisions)
    distribution = JointDistribution.uniform(decisions).with_rows([np.array([0.2, 0.3, 0.5])])
    pruned = distribution.prune(1, np.random.default_rng(0))
    table = CostTable("c", "u", 0, {(("a", "x"),): 1, (("a", "y"),): 5, (("a", "z"),): 9})
    assert generate(pruned, space, {"c": 4}, {"c": table}).architecture["a"] == "x"
    with pytest.raises(InfeasibleError, match="lowest possible is 5"):
        generate(pruned, space, {"c": 4}, {"c": table}, survivors_only=True)


def test_limits_are_checked():
    space = DecisionSpace([Decision("a", ("x", "y"))])
    uniform = JointDistribution.uniform(space.decisions)
    table = CostTable("macs", "MACs", 0, {})
    with pytest.raises(OptionError, match="did you mean 'macs'"):
        generate(uniform, space, {"mac": 5}, {"macs": table})
    for limit in ((3, 2), math.nan, (math.nan, 1.0)):
        with pytest.raises(OptionError, match="limit on macs: a limit cannot range from"):
            generate(uniform, space, {"macs": limit}, {"macs": table})


def test_samples_within_limits_are_uniform_over_what_is_within():
    space = DecisionSpace([Decision("a", ("0", "1", "2")), Decision("b", ("0", "1", "2"))])
    table = CostTable("c", "u", 0, {((d, o),): int(o) for d in "ab" for o in "012"})
    rng = np.random.default_rng(0)
    drawn = [tuple(sample_within(space, {"c": 1}, {"c": table}, rng).values()) for _ in range(1500)]
    counts = [drawn.count(pair) for pair in (("0", "0"), ("0", "1"), ("1", "0"))]
    assert sum(counts) == 1500 and all(430 < count < 570 for count in counts)


def test_samples_within_a_limit_that_one_in_a_million_meets_are_found():
    decisions = [Decision(f"d{i}", tuple("abcd")) for i in range(12)]
    space = DecisionSpace(decisions)
    table = CostTable("c", "u", 0, {((d.name, o),): ord(o) for d in decisions for o in "abcd"})
    limit = 12 * ord("a") + 1
    rng = np.random.default_rng(0)
    drawn = {sample_within(space, {"c": limit}, {"c": table}, rng, tries=5) for _ in range(20)}
    assert all(table.cost(a) <= limit for a in drawn) and len(drawn) > 3
    with pytest.raises(InfeasibleError):
        sample_within(space, {"c": 12 * ord("a") - 1}, {"c": table}, rng, tries=5)
