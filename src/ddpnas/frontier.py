"""frontier(): every architecture that is best for some budget, exactly.

The decisions are merged one by one; of the partial architectures only those are kept that no
other dominates (:mod:`ddpnas.labels`). What is left at the end is the whole trade-off curve
between the objective and the costs: no grid of budgets, no rounding, every point an architecture.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from ddpnas.architecture import Architecture, DecisionSpace, Rule
from ddpnas.cost_table import CostTable
from ddpnas.diagram import Diagram
from ddpnas.distribution import JointDistribution
from ddpnas.errors import InfeasibleError, OptionError, nearest
from ddpnas.generate import Generated, generate, generated
from ddpnas.labels import Labels, Range
from ddpnas.limits import Limit, checked_limits, within
from ddpnas.objective import Objective, objective_rows, whole_rows

__all__ = ["frontier"]

_MOST_LABELS = 2_000_000


def frontier(
    distribution: JointDistribution,
    space: DecisionSpace,
    cost: str | Sequence[str],
    limits: Mapping[str, Limit] | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
) -> list[Generated]:
    """Return every Pareto-optimal architecture between the objective and one or more costs.

    By rising cost (of several, the first named), so that for one cost the objective rises along
    the list, from the cheapest architecture to the one that :func:`ddpnas.generate` returns
    without a limit on that cost. Of architectures of equal objective and costs there is one, and
    of those that are the same network (``space.canonical``) the cheapest. Objectives that differ
    by less than 1e-13 of their range count as equal.

    Args:
        distribution: see :func:`ddpnas.generate`.
        space: the decisions and rules.
        cost: name of the cost, or names of several: then no other architecture is better in one
            of objective and costs without being worse in another.
        limits: cost name -> limit, on these costs or others.
        costs: cost name -> table.
        objective: see :func:`ddpnas.generate`.
        survivors_only: leave pruned options out.
        rules: conditions beside those of the space.

    Raises:
        InfeasibleError: no architecture is within the limits.
        OptionError: a cost without a table, or more than two million architectures to keep.
    """
    started = time.perf_counter()
    costs = dict(costs or {})
    axes = [cost] if isinstance(cost, str) else list(dict.fromkeys(cost))
    for name in axes:
        if name not in costs:
            raise OptionError(nearest("cost", name, costs))
    bounds = checked_limits(limits or {}, costs)
    used = list(dict.fromkeys([*axes, *bounds]))
    for name in used:
        costs[name].check(space)
    rows = whole_rows(objective_rows(objective, distribution, space))
    allowed = distribution.alive if survivors_only else None
    try:
        diagram = Diagram(space, [costs[name] for name in used], rules, allowed)
    except OverflowError as error:
        raise OptionError(f"no frontier: {error}") from None
    points: list[tuple[tuple[float, ...], Architecture]] = []
    labels = _merge(diagram, rows, used, len(axes), bounds)
    for label in range(len(labels)):
        architecture = diagram.decode(labels.path(label))
        if within(architecture, bounds, costs):
            reached = tuple(costs[name].cost(architecture) for name in axes)
            points.append((reached, architecture))
    if not points:
        generate(
            distribution, space, limits, costs, survivors_only=survivors_only, rules=rules
        )  # says why
        raise InfeasibleError("no architecture is within the limits")
    points.sort(key=lambda point: point[0])
    first = {space.canonical(architecture): architecture for _, architecture in reversed(points)}
    return [
        generated(architecture, distribution, space, objective, bounds, costs, started)
        for _, architecture in points
        if first[space.canonical(architecture)] == architecture
    ]


def _merge(
    diagram: Diagram,
    rows: list[np.ndarray[tuple[int], np.dtype[np.float64]]],
    used: Sequence[str],
    axes: int,
    bounds: Mapping[str, tuple[float, float]],
) -> Labels:
    """Return the labels at the end that none dominates in value and the first ``axes`` costs."""
    ranges = []
    for i, name in enumerate(used):
        low, up = bounds.get(name, (-np.inf, np.inf))
        # A float cost may lie a few units beyond its limit here; the caller looks exactly.
        spare = 0.0 if diagram.units[i] >= 1 else float(len(diagram.layers) + 4)
        lower, upper = diagram.in_units(i, low) - spare, diagram.in_units(i, up) + spare
        ranges.append(Range(diagram, i, lower, upper))
    labels = Labels.start(len(used))
    if diagram.empty:
        return labels.keep(np.zeros(1, dtype=np.bool_))
    for at, (layer, values) in enumerate(
        zip(diagram.layers, diagram.values(rows), strict=True), start=1
    ):
        labels = labels.extend(layer, values)
        possible = np.ones(len(labels), dtype=np.bool_)
        for limit in ranges:
            possible &= limit.reachable(labels, at)
        labels = labels.keep(possible)
        dimensions = [labels.cost[i] for i in range(axes)]
        dimensions += [limit.deficit(labels, at) for limit in ranges]
        dimensions += [limit.excess(labels, at) for limit in ranges[axes:]]
        labels = labels.keep(labels.best(dimensions))
        if len(labels) > _MOST_LABELS:
            raise OptionError(
                f"no frontier: more than {_MOST_LABELS:,} architectures would have to be kept; "
                "give tighter limits or fewer costs"
            )
    return labels
