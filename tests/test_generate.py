import math

import numpy as np
import pytest
from hypothesis import given, settings

from ddpnas import (
    CostTable,
    Decision,
    DecisionSpace,
    InfeasibleError,
    JointDistribution,
    OptionError,
    generate,
    least_cost,
    sample_within,
)
from tests.problems import everything, objectives, problems, value, within


@settings(max_examples=200, deadline=None)
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
        assert found.slack[name] >= 0
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


def test_infeasible_says_the_limit_and_the_least_reachable():
    space = DecisionSpace([Decision("a", ("big", "small")), Decision("b", ("big", "small"))])
    terms = {((d, o),): 60 if o == "big" else 20 for d in "ab" for o in ("big", "small")}
    macs = CostTable("macs", "MACs", 10, terms)
    params = CostTable("params", "parameters", 0, {k: 80 - v for k, v in terms.items()})
    uniform = JointDistribution.uniform(space.decisions)
    with pytest.raises(InfeasibleError, match=r"macs <= 49 cannot .* 50 MACs, by a=small;b=small"):
        generate(uniform, space, {"macs": 49}, {"macs": macs})
    with pytest.raises(InfeasibleError, match=r"macs >= 131 cannot .* most reachable is 130"):
        generate(uniform, space, {"macs": (131, 1e9)}, {"macs": macs})
    with pytest.raises(InfeasibleError, match=r"together.*least reachable macs is 90 MACs"):
        generate(uniform, space, {"macs": 60, "params": 80}, {"macs": macs, "params": params})


def test_survivors_only_leaves_out_what_was_pruned():
    decisions = (Decision("a", ("x", "y", "z")),)
    space = DecisionSpace(decisions)
    distribution = JointDistribution.uniform(decisions).with_rows([np.array([0.2, 0.3, 0.5])])
    pruned = distribution.prune(1, np.random.default_rng(0))
    table = CostTable("c", "u", 0, {(("a", "x"),): 1, (("a", "y"),): 5, (("a", "z"),): 9})
    assert generate(pruned, space, {"c": 4}, {"c": table}).architecture["a"] == "x"
    with pytest.raises(InfeasibleError, match="least reachable is 5"):
        generate(pruned, space, {"c": 4}, {"c": table}, survivors_only=True)


def test_limits_are_checked():
    space = DecisionSpace([Decision("a", ("x", "y"))])
    uniform = JointDistribution.uniform(space.decisions)
    table = CostTable("macs", "MACs", 0, {})
    with pytest.raises(OptionError, match="did you mean 'macs'"):
        generate(uniform, space, {"mac": 5}, {"macs": table})
    for limit in ((3, 2), math.nan, (math.nan, 1.0)):
        with pytest.raises(OptionError, match="no range"):
            generate(uniform, space, {"macs": limit}, {"macs": table})


def test_least_cost_is_the_least():
    rng = np.random.default_rng(3)
    decisions = [Decision(f"d{i}", tuple("abc")) for i in range(4)]
    space = DecisionSpace(decisions)
    terms = {((d.name, o),): float(rng.normal()) for d in decisions for o in d.options}
    table = CostTable("c", "u", 1.5, terms)
    architecture, cost = least_cost(space, table)
    assert cost == table.cost(architecture) == min(table.cost(a) for a in everything(space))


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
