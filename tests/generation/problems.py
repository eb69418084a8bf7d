"""Random small problems of generation, and what brute force says of them."""

import itertools
import math

import numpy as np
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, Rule
from ddpnas.space import Decision, DecisionSpace


def everything(space, rules=()):
    """Yield every architecture that obeys the rules."""
    names = [d.name for d in space.decisions]
    for choice in itertools.product(*(d.options for d in space.decisions)):
        architecture = dict(zip(names, choice))
        if all(rule.holds(architecture) for rule in (*space.rules, *rules)):
            yield architecture


def within(architecture, costs, limits):
    for name, limit in limits.items():
        low, up = limit if isinstance(limit, tuple) else (-math.inf, limit)
        if not low <= costs[name].cost(architecture) <= up:
            return False
    return True


def value(architecture, space, distribution, objective):
    """Return the objective; of log theta (number of positive factors, sum of their logs)."""
    if not isinstance(objective, str):
        return (math.fsum(objective.get(pair, 0.0) for pair in architecture.items()),)
    rows = zip(space.decisions, distribution.rows)
    chosen = [row[d.index(architecture[d.name])] for d, row in rows]
    if objective == "theta":
        return (math.fsum(chosen),)
    positive = [p for p in chosen if p > 0]
    return len(positive), math.fsum(math.log(p) for p in positive)


@st.composite
def problems(draw, most_costs=3, least_costs=0):
    """Return (space, distribution, costs, limits) of a random small problem.

    Rules (one- and two-sided, over whole and broken weights), nested decisions, costs that are
    negative, zero, huge, fractional or joint, limits at or between what can be reached.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    decisions = [Decision(f"d{i}", tuple("abcd"[:k])) for i, k in enumerate(lengths)]
    if draw(st.booleans()) and len(lengths) > 1:
        last = decisions.pop()
        decisions.append(Decision(last.name, last.options, (("d0", decisions[0].options[-1]),)))
    pairs = [(d.name, o) for d in decisions for o in d.options]
    rules = []
    for _ in range(draw(st.integers(0, 2))):
        step = draw(st.sampled_from([1.0, 0.1]))
        weights = {p: float(rng.integers(-1, 3)) * step for p in pairs if rng.random() < 0.5}
        lower = draw(st.sampled_from([-math.inf, -math.inf, -step, 0.0]))
        rules.append(Rule(weights, "random", lower=lower, upper=rng.integers(0, 4) * step))
    space = DecisionSpace(decisions, rules)
    rows = []
    for k in lengths:
        row = rng.dirichlet(np.ones(k))
        if draw(st.booleans()):  # zeros and ties
            row = np.round(row, 1) + (1e-9 if draw(st.booleans()) else 0)
            row = row if row.sum() > 0 else np.ones(k)
        rows.append(row)
    distribution = JointDistribution.uniform(decisions).with_rows(rows)
    costs, limits = {}, {}
    for i in range(draw(st.integers(least_costs, most_costs))):
        integer = draw(st.booleans())
        scale = draw(st.sampled_from([1, 8, 10**6]))
        terms = {
            (pair,): int(rng.integers(-2, 9)) * scale if integer else float(rng.normal()) * scale
            for pair in pairs
        }
        if draw(st.booleans()) and len(lengths) > 1:
            terms[(pairs[0], pairs[-1])] = 3 * scale
        table = CostTable(f"c{i}", "units", 2 * scale, terms)
        costs[table.name] = table
        if draw(st.integers(0, 3)):
            reachable = sorted(table.cost(a) for a in everything(space)) or [0.0]
            upper = reachable[draw(st.integers(0, len(reachable) - 1))]
            lower = reachable[draw(st.integers(0, len(reachable) - 1))]
            limits[table.name] = (min(lower, upper), upper) if draw(st.booleans()) else upper
    return space, distribution, costs, limits


def objectives():
    """Return "log_theta", "theta", or values for some choices."""
    pairs = st.tuples(st.sampled_from(["d0"]), st.just("a"))
    given = st.dictionaries(pairs, st.sampled_from([-1.5, 0.0, 0.25, 0.5]))
    return st.one_of(st.sampled_from(["log_theta", "theta"]), given)
