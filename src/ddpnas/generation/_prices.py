"""Prices of the limits: how much value a unit of each cost is worth in the linear relaxation.

The relaxation is a flow of one unit through a diagram whose costs obey the limits. The dual values
of the limits are the prices at which the bound of :mod:`ddpnas.generation._paths` is closest. Any
other prices give a valid bound, too. Small diagrams have a variable for each arc, large ones for
each path that takes part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnas.generation._diagram import Costs, Diagram, Layer, Vector, to_go
from ddpnas.generation._labels import Range

__all__ = ["are_impossible", "best_prices", "rough_costs", "worth_of_limits"]

_MOST_FLOWS = 10_000  # arcs up to which the linear relaxation has a variable for each arc
_MOST_PATHS = 200  # paths that are added to a larger one; a few dozen suffice for two limits


def best_prices(
    diagram: Diagram,
    rough: Sequence[Vector],
    ranges: Sequence[Range],
    values: Sequence[Vector] | None,
) -> Vector | None:
    """Return the prices that bound best: the dual values of the limits in the linear relaxation.

    Costs are scaled to 1 at most for the solver.

    Args:
        diagram: The legal architectures.
        rough: The costs of each layer as floats.
        ranges: Range of each cost, with its limit.
        values: The value of each arc. Without values, the flow that exceeds the limits by as little
            as possible is looked for instead; its prices tell which limits conflict.

    Returns:
        A price for each cost; None where even the relaxation has no solution.
    """
    # Both ends of a limit as "at most": an upper end, and a lower end of the negative cost.
    ends = [(i, 1.0, limit.upper) for i, limit in enumerate(ranges) if limit.upper < math.inf]
    ends += [(i, -1.0, -limit.lower) for i, limit in enumerate(ranges) if limit.lower > -math.inf]
    scale = np.abs(np.concatenate(rough, axis=1)).max(axis=1)
    scale[scale == 0] = 1.0
    most = 1.0
    if values is not None:
        most = max(float(np.abs(value).max()) for value in values) or 1.0
        values = [value / most for value in values]
    sides = _Sides(
        np.array([diagram.rough(i, end) / scale[i] for i, _, end in ends]),
        [np.array([sign * cost[i] / scale[i] for i, sign, _ in ends]) for cost in rough],
    )
    large = sum(len(layer.option) for layer in diagram.layers) > _MOST_FLOWS
    relaxed = _by_paths if large else _by_arcs
    marginals = relaxed(diagram.layers, sides, values)
    if marginals is None:
        return None
    prices = np.zeros(len(ranges))
    for (i, sign, _), marginal in zip(ends, marginals, strict=True):
        prices[i] += sign * max(0.0, -float(marginal)) * most / scale[i]
    return prices


def are_impossible(diagram: Diagram, rough: Sequence[Vector], ranges: Sequence[Range]) -> bool:
    """Return whether prices prove that no path is within all limits.

    They do when even the path that costs least at these prices costs more than the limits are
    worth, by more than floats can be wrong.
    """
    prices = best_prices(diagram, rough, ranges, None)
    if prices is None:
        return False
    costs = [-prices @ cost for cost in rough]
    least = -float(to_go(diagram.layers, costs)[0][0])
    spent = sum(float(np.abs(cost).max()) for cost in costs)
    worth = worth_of_limits(diagram, prices, ranges)
    return least - worth > 1e-9 * (spent + abs(worth))


def worth_of_limits(diagram: Diagram, prices: Vector, ranges: Sequence[Range]) -> float:
    """Return what the limits are worth at these prices: the constant of the Lagrangian bound."""
    ends = [r.upper if price > 0 else r.lower for price, r in zip(prices, ranges, strict=True)]
    priced = [i for i, price in enumerate(prices) if price != 0]  # the ends of others are infinite
    return float(sum(prices[i] * diagram.rough(i, ends[i]) for i in priced))


def rough_costs(diagram: Diagram, cost: Costs) -> Vector:
    """Return costs, tables x anything, as floats on which prices can be put."""
    if cost.dtype == np.float64:
        return cost
    return np.array([diagram.rough(i, row) for i, row in enumerate(cost)]).reshape(cost.shape)


@dataclass(frozen=True)
class _Sides:
    """All ends of limits as "at most".

    Attributes:
        end: The most of each side.
        taken: For each layer what its arcs take of each side, sides x arcs.
    """

    end: Vector
    taken: list[Vector]


def _by_arcs(
    layers: Sequence[Layer], sides: _Sides, values: Sequence[Vector] | None
) -> Vector | None:
    """Return the marginals of the sides from the relaxation with a variable for each arc."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    sizes = [len(layer.option) for layer in layers]
    node = np.concatenate([[0], np.cumsum([layer.nodes for layer in layers])])
    arcs = np.arange(sum(sizes))
    source = np.concatenate([n + layer.source for n, layer in zip(node, layers, strict=False)])
    target = np.concatenate([n + layer.target for n, layer in zip(node[1:], layers, strict=True)])
    flow = np.repeat([1.0, -1.0], len(arcs))
    shape = (int(node[-1]) + 1, len(arcs) + 1)  # the last variable is the excess
    both = np.concatenate([source, target])
    # A row for each node: what flows in flows out. That of the end follows from the others.
    balance: Any = coo_array((flow, (both, np.tile(arcs, 2))), shape=shape).tocsr()
    supply = np.zeros(shape[0])
    supply[0] = 1.0
    objective = np.zeros(shape[1])
    if values is None:
        objective[-1] = 1.0
    else:
        objective[:-1] = -np.concatenate(values)
    excess = np.full((len(sides.end), 1), -1.0 if values is None else 0.0)
    solved: Any = linprog(
        objective,
        A_ub=np.concatenate([*sides.taken, excess], axis=1),
        b_ub=sides.end,
        A_eq=balance[:-1],
        b_eq=supply[:-1],
        method="highs",
    )
    return np.asarray(solved.ineqlin.marginals) if solved.status == 0 else None


def _by_paths(
    layers: Sequence[Layer], sides: _Sides, values: Sequence[Vector] | None
) -> Vector | None:
    """Return the marginals of the sides from the relaxation with a variable for each path.

    The same relaxation (Dantzig-Wolfe). Few paths take part in its solution: they are added one by
    one, each the best at the prices so far, until none is better than what is reached.
    """
    from scipy.optimize import linprog

    # What a unit beyond the sides costs; without values the excess is all that counts.
    penalty = 1.0 if values is None else 1e4
    worth = [np.zeros(len(layer.option)) for layer in layers] if values is None else values
    objective, taken = [penalty], [np.full(len(sides.end), -1.0)]
    marginals = np.zeros(len(sides.end))
    reached = -np.inf
    for _ in range(_MOST_PATHS):
        reduced = [w + marginals @ t for w, t in zip(worth, sides.taken, strict=True)]
        ahead = to_go(layers, reduced)
        if float(ahead[0][0]) - marginals @ sides.end <= reached + 1e-9 * (1.0 + abs(reached)):
            break
        node, value, amount = 0, 0.0, np.zeros(len(sides.end))
        for i, layer in enumerate(layers):
            arcs = slice(*np.searchsorted(layer.source, [node, node + 1]))
            arc = arcs.start + int(np.argmax((reduced[i] + ahead[i + 1][layer.target])[arcs]))
            value += float(worth[i][arc])
            amount += sides.taken[i][:, arc]
            node = int(layer.target[arc])
        objective.append(-value)
        taken.append(amount)
        solved: Any = linprog(
            objective,
            A_ub=np.array(taken).T,
            b_ub=sides.end,
            A_eq=[[0.0, *[1.0] * (len(taken) - 1)]],
            b_eq=[1.0],
            method="highs",
        )
        if solved.status != 0:
            return None
        marginals, reached = np.minimum(solved.ineqlin.marginals, 0.0), -float(solved.fun)
        excess = float(solved.x[0])
    return None if values is not None and excess > 1e-9 else marginals
