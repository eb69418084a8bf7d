"""The best path of a diagram within limits, proven: Lagrangian bounds and dominance.

Relaxing the limits with the multipliers of the linear relaxation turns them into prices, and the
best path with prices, one sweep of the diagram, bounds everything that a partial architecture can
become. Arcs and labels whose bound is not above the best architecture found so far are dropped;
first with few labels a layer, to find a good one, then with as many as there are. When none was
dropped for want of room, what was found is proven to be the optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.diagram import Diagram, Indices, Layer, Vector, to_go
from ddpnas.labels import Labels, Range

__all__ = ["Path", "best_path", "ranges_of"]

_WIDTHS = (100, 3_000, 100_000)  # labels a layer, of one pass after the other
_COMPARED = 64  # the best labels, with which the others are compared where there are many limits


@dataclass(frozen=True)
class Path:
    """The options of a path, layer by layer, and the sum of its values."""

    options: list[int]
    value: float


def ranges_of(diagram: Diagram, bounds: Sequence[tuple[float, float]]) -> list[Range]:
    """Return the range of each cost of a diagram under bounds in the units of the tables.

    A cost of fractions may lie a few units, the rounding of a sum, outside its range; the caller
    looks at the sum itself.
    """
    ranges = []
    for i, (low, up) in enumerate(bounds):
        spare = 0.0 if diagram.units[i] >= 1 else float(len(diagram.layers) + 4)
        lower, upper = diagram.in_units(i, low) - spare, diagram.in_units(i, up) + spare
        ranges.append(Range(diagram, i, lower, upper))
    return ranges


def best_path(
    diagram: Diagram,
    rows: Sequence[Vector],
    bounds: Sequence[tuple[float, float]],
    accept: Callable[[list[int]], bool],
) -> Path | None:
    """Return the path of the largest value among those within the bounds, None if there is none.

    Args:
        diagram: the architectures.
        rows: value of each option of each decision, whole numbers.
        bounds: (lower, upper) of each cost.
        accept: whether the options of a path are within the bounds, exactly.

    Raises:
        OverflowError: more labels would be needed than there is room for.
    """
    if diagram.empty:
        return None
    ranges = ranges_of(diagram, bounds)
    if not all(limit.reachable(Labels.start(len(ranges)), 0)[0] for limit in ranges):
        return None
    return _Search(diagram, diagram.values(rows), ranges, accept).run()


class _Search:
    """One search: the prices, and the best path found so far."""

    def __init__(
        self,
        diagram: Diagram,
        values: list[Vector],
        ranges: list[Range],
        accept: Callable[[list[int]], bool],
    ) -> None:
        self._layers = diagram.layers
        self._values = values
        self._ranges = ranges
        self._accept = accept
        self.best: Path | None = None
        # Floats that stand for whole numbers below 2**51, added up once a layer.
        self._slack = 4.0 * len(values)

    def run(self) -> Path | None:
        """Return the optimum."""
        self._price(np.zeros(len(self._ranges)))
        if self.best is not None:  # the best of all is within the limits
            return self.best
        self._price(_multipliers(self._layers, self._values, self._ranges))
        for width in _WIDTHS:
            if self._pass(width):
                return self.best
        raise OverflowError("too many partial architectures")

    def _price(self, prices: Vector) -> None:
        """Take prices a unit of each cost; negative ones for costs that have to be larger."""
        self._prices = prices
        self._constant = float(
            sum(
                price * (limit.upper if price > 0 else limit.lower)
                for price, limit in zip(prices, self._ranges, strict=True)
                if price != 0
            )
        )
        self._reduced = [
            values - prices @ layer.cost
            for values, layer in zip(self._values, self._layers, strict=True)
        ]
        self._ahead = to_go(self._layers, self._reduced)
        self._complete()
        self._offer([], 0, 0)

    def _complete(self) -> None:
        """Note the best completion from each node: its first arc, value and costs."""
        self._first: list[Indices] = []
        self._rest_value = [np.zeros(1)]
        self._rest_cost = [np.zeros((len(self._ranges), 1))]
        stages = zip(self._layers, self._reduced, self._values, self._ahead[1:], strict=True)
        for layer, reduced, values, ahead in reversed(list(stages)):
            through = reduced + ahead[layer.target]
            arc = np.lexsort((-through, layer.source))[layer.starts]
            target = layer.target[arc]
            self._rest_value.append(values[arc] + self._rest_value[-1][target])
            self._rest_cost.append(layer.cost[:, arc] + self._rest_cost[-1][:, target])
            self._first.append(arc)
        for rest in (self._first, self._rest_value, self._rest_cost):
            rest.reverse()

    def _offer(self, options: list[int], at: int, node: int) -> None:
        """Take the path that continues the options as the prices say, if it is the best so far."""
        options = list(options)
        for layer, first in zip(self._layers[at:], self._first[at:], strict=True):
            arc = first[node]
            options.append(int(layer.option[arc]))
            node = int(layer.target[arc])
        if self._accept(options):
            value = 0.0
            node = 0
            for layer, values, option in zip(self._layers, self._values, options, strict=True):
                arc = np.flatnonzero((layer.source == node) & (layer.option == option))[0]
                value += values[arc]
                node = int(layer.target[arc])
            if self.best is None or value > self.best.value:
                self.best = Path(options, float(value))

    def _pass(self, width: int) -> bool:
        """Extend labels through all layers; return whether none was dropped for want of room."""
        complete = True
        labels = Labels.start(len(self._ranges))
        layers = self._promising()
        for at, (layer, arcs) in enumerate(layers, start=1):
            if not arcs.any():
                break
            labels = labels.extend(layer.only(arcs), self._values[at - 1][arcs])
            possible = np.ones(len(labels), dtype=np.bool_)
            for limit in self._ranges:
                possible &= limit.reachable(labels, at)
            labels = labels.keep(possible)
            self._try(labels, at)
            bound = self._bound(labels, at)
            labels = labels.keep(bound >= self._goal)
            labels = self._undominated(labels, at)
            if not len(labels):
                break
            if len(labels) > width:
                complete = False
                bound = self._bound(labels, at)
                labels = labels.keep(np.sort(np.argpartition(-bound, width)[:width]))
        return complete

    @property
    def _goal(self) -> float:
        """What a bound has to reach for something better than the best not to be ruled out."""
        return -np.inf if self.best is None else self.best.value + 1.0 - self._slack

    def _bound(self, labels: Labels, at: int) -> Vector:
        reduced = labels.value - self._prices @ labels.cost
        return np.asarray(reduced + self._ahead[at][labels.node] + self._constant)

    def _promising(self) -> list[tuple[Layer, npt.NDArray[np.bool_]]]:
        """Return each layer with the arcs whose bound is high enough."""
        promising = []
        behind = np.zeros(1)
        for at, (layer, reduced) in enumerate(zip(self._layers, self._reduced, strict=True)):
            through = behind[layer.source] + reduced
            bound = through + self._ahead[at + 1][layer.target] + self._constant
            promising.append((layer, bound >= self._goal))
            behind = np.full(len(self._ahead[at + 1]), -np.inf)
            np.maximum.at(behind, layer.target, through)
        return promising

    def _try(self, labels: Labels, at: int) -> None:
        """Complete the labels as the prices say; take the best of what is within the limits."""
        if not len(labels):
            return
        value = labels.value + self._rest_value[at][labels.node]
        cost = labels.cost + self._rest_cost[at][:, labels.node]
        good = value > (-np.inf if self.best is None else self.best.value)
        for limit, reached in zip(self._ranges, cost, strict=True):
            good &= (limit.lower <= reached) & (reached <= limit.upper)
        for label in np.flatnonzero(good)[np.argsort(-value[good], kind="stable")][:3]:
            self._offer(labels.path(int(label)), at, int(labels.node[label]))

    def _undominated(self, labels: Labels, at: int) -> Labels:
        dimensions = [limit.excess(labels, at) for limit in self._ranges]
        dimensions += [limit.deficit(labels, at) for limit in self._ranges]
        dimensions = [d for d in dimensions if d.any()]
        if len(dimensions) < 3 or len(labels) < 4 * _COMPARED:
            return labels.keep(labels.best(dimensions))
        strong = np.argpartition(-self._bound(labels, at), _COMPARED)[:_COMPARED]
        node = labels.node[strong]
        points = np.array([-labels.value, *dimensions])
        worse = node[:, None] == labels.node
        for row in points:
            worse &= row[strong, None] <= row
        same = np.ones((len(strong), len(labels)), dtype=np.bool_)
        for row in points:
            same &= row[strong, None] == row
        return labels.keep(~(worse & ~same).any(axis=0))


def _multipliers(
    layers: Sequence[Layer], values: Sequence[Vector], ranges: Sequence[Range]
) -> Vector:
    """Return the prices that bound best: multipliers of the limits in the linear relaxation.

    Its variables are the arcs, a unit of flow from start to end. Where even the relaxation has
    no solution, the prices are zero.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    sizes = [len(layer.option) for layer in layers]
    node = np.concatenate([[0], np.cumsum([layer.nodes for layer in layers])])
    arcs = np.arange(sum(sizes))
    source = np.concatenate([n + layer.source for n, layer in zip(node, layers, strict=False)])
    target = np.concatenate([n + layer.target for n, layer in zip(node[1:], layers, strict=True)])
    ends = np.concatenate([source, target])
    flow = np.repeat([1.0, -1.0], len(arcs))
    shape = (int(node[-1]) + 1, len(arcs))
    balance: Any = coo_array((flow, (ends, np.tile(arcs, 2))), shape=shape).tocsr()
    supply = np.zeros(shape[0])
    supply[0] = 1.0
    cost = np.concatenate([layer.cost for layer in layers], axis=1)
    sides = [(i, 1.0, limit.upper) for i, limit in enumerate(ranges) if np.isfinite(limit.upper)]
    sides += [(i, -1.0, -limit.lower) for i, limit in enumerate(ranges) if np.isfinite(limit.lower)]
    scale = np.abs(cost).max(axis=1)
    scale[scale == 0] = 1.0
    most = max(float(np.abs(value).max()) for value in values) or 1.0
    solved: Any = linprog(
        -np.concatenate(values) / most,
        A_ub=np.array([sign * cost[i] / scale[i] for i, sign, _ in sides]),
        b_ub=[limit / scale[i] for i, _, limit in sides],
        A_eq=balance[:-1],
        b_eq=supply[:-1],
        method="highs",
    )
    prices = np.zeros(len(ranges))
    if solved.status == 0:
        for (i, sign, _), marginal in zip(sides, solved.ineqlin.marginals, strict=True):
            prices[i] += sign * max(0.0, -float(marginal)) * most / scale[i]
    return prices
