"""frontier(): every architecture that is best for some budget, exactly.

The decisions are taken one by one. Of the partial architectures only those are kept that no other
dominates (:mod:`ddpnas.generation._labels`). What is left at the end is the whole trade-off curve
between the objective and the costs: no grid of budgets, no rounding, every point an architecture.

Two filters follow. :func:`_without_ties` drops points that only rounding made better than a
cheaper one. :func:`_without_repeats` drops points whose network the list names already.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.generation._diagram import Costs, Diagram, Vector
from ddpnas.generation._infeasible import infeasible
from ddpnas.generation._labels import Labels
from ddpnas.generation._paths import ranges_of
from ddpnas.generation._problem import Problem
from ddpnas.generation.best import Certificate, Generated, describe
from ddpnas.generation.limits import Limit, Limits, checked_limits, tightened_limits, within
from ddpnas.generation.objective import Objective, objective_rows, objective_value, whole_rows
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution
from ddpnas.utils.settings import checks_arguments

__all__ = ["frontier"]

Point = tuple[tuple[float, ...], Architecture]  # the traded costs, and what has them

# Share of the largest objective by which rounding can make equal sums differ: each value is rounded
# to 2**-51 of it (4e-16), and a few hundred decisions add up.
_EQUAL = 1e-13
_MOST_LABELS = 2_000_000  # bounds memory: a layer with that many labels takes about 100 MB


@checks_arguments
def frontier(
    distribution: JointDistribution,
    space: DecisionSpace,
    cost: str | Sequence[str],
    limits: Limits | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
    margin: float | str | None = None,
) -> list[Generated]:
    """Return every Pareto-optimal architecture between the objective and one or more costs.

    The list is sorted by rising cost (of several, the first named). For one cost the objective
    rises along it, from the cheapest architecture to the one that :func:`ddpnas.generate` returns
    without a limit on that cost. For every budget the last entry within it is the network of
    :func:`ddpnas.generate`. Of architectures of equal objective and costs the list has one, and a
    network (``space.canonical``) comes again at a higher cost only where another one was better in
    between. Objectives that differ by less than 1e-13 of their range count as equal.

    Args:
        distribution: See :func:`ddpnas.generate`.
        space: The decisions and rules.
        cost: Name of the cost, or names of several. No other architecture is better than a listed
            one in the objective or one of these costs without being worse in another.
        limits: Cost name -> limit, on these costs or others; see :func:`ddpnas.generate`.
        costs: Cost name -> table.
        objective: See :func:`ddpnas.generate`.
        survivors_only: Leave pruned options out.
        rules: Conditions in addition to those of the space.
        margin: See :func:`ddpnas.generate`.

    Raises:
        InfeasibleError: No architecture is within the limits.
        OptionError: A cost has no table, the rules of the space are too uneven for a decision
            diagram, or more than two million partial architectures would have to be kept.
        SpaceError: The distribution or a table is of another space.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> uniform = ddpnas.JointDistribution.uniform(space.decisions)
        >>> curve = ddpnas.frontier(uniform, space, "macs", costs=ddpnas.count_costs(space))
        >>> [dict(point.architecture)["layer1"] for point in curve]
        ['skip']
    """
    started = time.perf_counter()
    costs = dict(costs or {})
    axes = [cost] if isinstance(cost, str) else list(dict.fromkeys(cost))
    for name in axes:
        if name not in costs:
            raise OptionError(nearest("cost", name, costs))
    asked = checked_limits(limits or {}, costs)
    for table in costs.values():
        table.check(space)
    checked = tightened_limits(asked, costs, margin)
    used = list(dict.fromkeys([*axes, *checked]))
    rows = objective_rows(objective, distribution, space)
    allowed = distribution.alive if survivors_only else None
    problem = Problem(space, {name: costs[name] for name in used}, rules, allowed)
    diagram = problem.diagram
    if diagram is None:
        raise OptionError("no frontier: the rules of the space have too many partial sums to list")
    limit_of = [checked.get(name, Limit()) for name in used]
    labels = _merge(diagram, whole_rows(rows), limit_of, len(axes))
    decoded = (diagram.decode(labels.path(label)) for label in range(len(labels)))
    points: list[Point] = [
        (tuple(costs[name].cost(architecture) for name in axes), architecture)
        for architecture in decoded
        if within(architecture, checked, costs)
    ]
    if not points:
        raise infeasible(problem, checked, asked)
    points.sort(key=lambda point: point[0])
    values = [objective_value(rows, space, architecture) for _, architecture in points]
    largest = sum(float(np.abs(row).max()) for row in rows)
    kept = _without_ties(_paid(points), np.array(values), _EQUAL * largest)
    points, values = [points[i] for i in kept], [values[i] for i in kept]
    seconds = time.perf_counter() - started

    def found(architecture: Architecture, value: float) -> Generated:
        proof = Certificate(value, value, seconds)
        return describe(architecture, distribution, objective, asked, checked, costs, proof)

    return [found(points[i][1], values[i]) for i in _without_repeats(space, points, values)]


def _paid(points: Sequence[Point]) -> Costs:
    """Return the costs of the points, points x costs, in a type that keeps large whole numbers."""
    large = any(isinstance(cost, int) for costs, _ in points for cost in costs)
    return np.array([costs for costs, _ in points], dtype=object if large else np.float64)


def _without_ties(costs: Costs, values: Vector, tolerance: float) -> list[int]:
    """Return which points to keep: those that no point of equal value undercuts in every cost.

    The labels were compared by rounded values. Two architectures of equal value can differ there
    in the last digit, so that the more expensive one passes for better.

    Args:
        costs: Costs of the points, points x costs, in the order in which points are preferred.
        values: Values of the points.
        tolerance: Difference up to which values count as equal.
    """
    # Runs of values without a gap larger than the tolerance are equal among themselves.
    by_value = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[by_value]) > tolerance) + 1
    dropped: set[int] = set()
    for group in np.split(by_value, ends):
        if len(group) > 1:
            kept: list[int] = []
            for i in sorted(group.tolist()):
                if kept and bool((costs[kept] <= costs[i]).all(axis=1).any()):
                    dropped.add(i)
                else:
                    kept.append(i)
    return [i for i in range(len(values)) if i not in dropped]


def _without_repeats(
    space: DecisionSpace,
    points: Sequence[Point],
    values: Sequence[float],
) -> list[int]:
    """Return which points to keep: those whose network the kept ones do not name already.

    Two architectures can be one network and cost different amounts, as a cost is a sum over choices
    and counts what cannot reach the output, too. The more expensive one is left out if the best
    point within its costs is that network already. It is kept if another network came in between:
    someone who reads off the last point within a budget would be told that other network otherwise.

    Args:
        space: Knows which architectures are the same network.
        points: (costs, architecture), sorted by the first cost.
        values: Values of the points.
    """
    costs = _paid(points)
    worth = np.array(values)
    networks = [space.canonical(architecture) for _, architecture in points]
    seen: set[Architecture] = set()
    kept: list[int] = []
    for i, network in enumerate(networks):
        if network in seen:
            before = np.array(kept)
            within_costs = before[(costs[before] <= costs[i]).all(axis=1)]
            if (
                within_costs.size
                and networks[within_costs[worth[within_costs].argmax()]] == network
            ):
                continue
        seen.add(network)
        kept.append(i)
    return kept


def _merge(diagram: Diagram, rows: list[Vector], limits: Sequence[Limit], axes: int) -> Labels:
    """Return the labels at the end that none dominates in value and the first ``axes`` costs.

    Args:
        diagram: The legal architectures.
        rows: The value of each option of each decision, whole numbers.
        limits: On each cost of the diagram.
        axes: Number of costs, the first ones, that are traded against the value.
    """
    labels = Labels.start(diagram)
    if diagram.empty:
        return labels.keep(np.zeros(1, dtype=np.bool_))
    ranges = ranges_of(diagram, limits)
    for at, (layer, values) in enumerate(
        zip(diagram.layers, diagram.values(rows), strict=True), start=1
    ):
        labels = labels.extend(layer, values)
        possible = np.ones(len(labels), dtype=np.bool_)
        for limit in ranges:
            possible &= limit.reachable(labels, at)
        labels = labels.keep(possible)
        # A traded cost counts itself. A limit counts by how far it can still be violated: its
        # upper end for the other costs, its lower end for all.
        dimensions = labels.costs(axes)
        dimensions += [limit.deficit(labels, at) for limit in ranges]
        dimensions += [limit.excess(labels, at) for limit in ranges[axes:]]
        labels = labels.keep(labels.best(dimensions))
        if len(labels) > _MOST_LABELS:
            raise OptionError(
                f"no frontier: more than {_MOST_LABELS:,} architectures would have to be kept; "
                "give tighter limits or fewer costs"
            )
    return labels
