"""The best path of a diagram within limits, proven: Lagrangian bounds and dominance.

Relaxing the limits with the multipliers of the linear relaxation turns them into prices, and the
best path with prices, one sweep of the diagram, bounds everything that a partial architecture can
become. Arcs and labels whose bound is not above the best architecture found so far are dropped;
first with few labels a layer, to find a good one, then with as many as there are. When none was
dropped for want of room, what was found is proven to be the optimum. The next best ones are the
optima of the parts into which taking out a path splits the rest (Lawler's method).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnas.generation._diagram import Diagram, Indices, Layer, Vector, to_go
from ddpnas.generation._labels import Labels, Mask, Range
from ddpnas.generation.limits import Limit

__all__ = ["Path", "best_paths", "ranges_of"]

Part = list[Mask]  # some of the paths: for each layer, which arcs they may use

_WIDTHS = (100, 3_000, 100_000)  # labels a layer, of one pass after the other
_COMPARED = 64  # the best labels, with which the others are compared where there are many limits


@dataclass(frozen=True)
class Path:
    """The options of a path, layer by layer, and the sum of its values."""

    options: list[int]
    value: float


def ranges_of(diagram: Diagram, limits: Sequence[Limit]) -> list[Range]:
    """Return the range of each cost of a diagram under limits in the units of the tables.

    A cost of fractions may lie a few units, the rounding of a sum, outside its range; the caller
    looks at the sum itself.
    """
    ranges = []
    for i, limit in enumerate(limits):
        spare = 0.0 if diagram.units[i] >= 1 else float(len(diagram.layers) + 4)
        lower = diagram.in_units(i, limit.lower) - spare
        upper = diagram.in_units(i, limit.upper) + spare
        ranges.append(Range(diagram, i, lower, upper))
    return ranges


def best_paths(
    diagram: Diagram,
    values: Sequence[Vector],
    limits: Sequence[Limit],
    accept: Callable[[list[int]], bool],
    matter: Callable[[list[int]], Sequence[bool]],
) -> Iterator[Path]:
    """Yield the paths within the limits by falling value.

    Args:
        diagram: the architectures.
        values: of each arc of each layer, whole numbers.
        limits: on each cost, in the units of the tables.
        accept: whether the options of a path are within the limits, exactly.
        matter: in which layers a path has to differ from the one given to count as another one.

    Raises:
        OverflowError: more labels would be needed than there is room for.
    """
    if diagram.empty:
        return
    ranges = ranges_of(diagram, limits)
    if not all(limit.reachable(Labels.start(len(ranges)), 0)[0] for limit in ranges):
        return
    search = _Search(diagram.layers, list(values), ranges, accept)
    first = search.optimum()
    # Parts by falling bound: (-bound, number, the best path once it is known, the part).
    parts: list[tuple[float, int, Path | None, Part]] = []
    if first is not None:
        parts.append((-first.value, 0, first, search.whole))
    number = 0
    while parts:
        _, _, path, part = heapq.heappop(parts)
        if path is None:
            path = search.within(part)
            number += 1
            if path is not None:
                heapq.heappush(parts, (-path.value, number, path, part))
            continue
        yield path
        for bound, rest in search.split(part, path, matter(path.options)):
            number += 1
            heapq.heappush(parts, (-bound, number, None, rest))


class _Search:
    """One search: the prices, and the best path found so far."""

    def __init__(
        self,
        layers: Sequence[Layer],
        values: list[Vector],
        ranges: list[Range],
        accept: Callable[[list[int]], bool],
    ) -> None:
        self._layers = layers
        self._values = values
        self._ranges = ranges
        self._accept = accept
        self._best: Path | None = None
        self.whole = [np.ones(len(layer.option), dtype=np.bool_) for layer in layers]
        # Floats that stand for whole numbers below 2**51, added up once a layer.
        self._slack = 4.0 * len(values)

    def optimum(self) -> Path | None:
        """Return the best of all paths, None if none is within the limits."""
        self._price(np.zeros(len(self._ranges)))
        self._offer([], 0, 0)
        if self._best is not None:  # the best without limits is within them
            return self._best
        prices = _multipliers(self._layers, self._ranges, self._values)
        if prices is None:
            prices = np.zeros(len(self._ranges))
            if _impossible(self._layers, self._ranges):
                return None
        self._price(prices)
        self._offer([], 0, 0)
        return self._solve(self.whole)

    def within(self, part: Part) -> Path | None:
        """Return the best path of a part."""
        self._best = None
        return self._solve(part)

    def split(
        self, part: Part, path: Path, matters: Sequence[bool]
    ) -> Iterator[tuple[float, Part]]:
        """Yield parts that make up all of a part but the path, with a bound on each.

        A path that differs only in layers that do not matter is taken out too.
        """
        arcs = list(part)
        behind = np.zeros(1)
        for at, (layer, option) in enumerate(zip(self._layers, path.options, strict=True)):
            chosen = layer.option == option
            through = np.where(arcs[at], behind[layer.source] + self._reduced[at], -np.inf)
            if matters[at]:
                other = through + self._ahead[at + 1][layer.target] + self._constant
                other[chosen] = -np.inf
                bound = float(other.max())
                if bound > -np.inf:
                    rest = [*arcs[:at], arcs[at] & ~chosen, *arcs[at + 1 :]]
                    yield bound + self._slack, rest
                arcs[at] = arcs[at] & chosen
                through = np.where(chosen, through, -np.inf)
            behind = np.full(len(self._ahead[at + 1]), -np.inf)
            np.maximum.at(behind, layer.target, through)

    def _solve(self, arcs: Part) -> Path | None:
        for width in _WIDTHS:
            if self._pass(arcs, width):
                return self._best
        raise OverflowError("too many partial architectures")

    def _price(self, prices: Vector) -> None:
        """Take prices a unit of each cost; negative ones for costs that have to be larger."""
        self._prices = prices
        self._constant = _worth(prices, self._ranges)
        self._reduced = [
            values - prices @ layer.cost
            for values, layer in zip(self._values, self._layers, strict=True)
        ]
        self._ahead = to_go(self._layers, self._reduced)
        self._complete()

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

    def _offer(self, options: list[int], at: int, node: int) -> bool:
        """Take the path that continues the options as the prices say, if it is the best so far.

        Return whether it is within the limits.
        """
        options = list(options)
        for layer, first in zip(self._layers[at:], self._first[at:], strict=True):
            arc = first[node]
            options.append(int(layer.option[arc]))
            node = int(layer.target[arc])
        if not self._accept(options):
            return False
        value, node = 0.0, 0
        for layer, values, option in zip(self._layers, self._values, options, strict=True):
            arc = np.flatnonzero((layer.source == node) & (layer.option == option))[0]
            value += float(values[arc])
            node = int(layer.target[arc])
        if self._best is None or value > self._best.value:
            self._best = Path(options, value)
        return True

    def _pass(self, arcs: Part, width: int) -> bool:
        """Extend labels through all layers; return whether none was dropped for want of room."""
        complete = True
        free = max((at for at, used in enumerate(arcs, start=1) if not used.all()), default=0)
        labels = Labels.start(len(self._ranges))
        for at, (layer, good) in enumerate(self._promising(arcs), start=1):
            if not good.any():
                break
            labels = labels.extend(layer.only(good), self._values[at - 1][good])
            possible = np.ones(len(labels), dtype=np.bool_)
            for limit in self._ranges:
                possible &= limit.reachable(labels, at)
            labels = labels.keep(possible)
            if good.sum() == 1 and at < len(self._layers):
                continue  # nothing was decided here
            if at >= free:
                self._try(labels, at)
            labels = labels.keep(self._bound(labels, at) >= self._goal)
            labels = self._undominated(labels, at)
            if len(labels) > width:
                complete = False
                bound = self._bound(labels, at)
                labels = labels.keep(np.sort(np.argpartition(-bound, width)[:width]))
        return complete

    @property
    def _goal(self) -> float:
        """What a bound has to reach for something better than the best not to be ruled out."""
        return -np.inf if self._best is None else self._best.value + 1.0 - self._slack

    def _bound(self, labels: Labels, at: int) -> Vector:
        reduced = labels.value - self._prices @ labels.cost
        return np.asarray(reduced + self._ahead[at][labels.node] + self._constant)

    def _promising(self, arcs: Part) -> list[tuple[Layer, Mask]]:
        """Return each layer with those of the arcs whose bound is high enough."""
        promising = []
        behind = np.zeros(1)
        for at, layer in enumerate(self._layers):
            through = np.where(arcs[at], behind[layer.source] + self._reduced[at], -np.inf)
            bound = through + self._ahead[at + 1][layer.target] + self._constant
            promising.append((layer, (bound >= self._goal) & (through > -np.inf)))
            behind = np.full(len(self._ahead[at + 1]), -np.inf)
            np.maximum.at(behind, layer.target, through)
        return promising

    def _try(self, labels: Labels, at: int) -> None:
        """Complete the labels as the prices say; take the best of what is within the limits."""
        if not len(labels):
            return
        value = labels.value + self._rest_value[at][labels.node]
        cost = labels.cost + self._rest_cost[at][:, labels.node]
        good = value > (-np.inf if self._best is None else self._best.value)
        for limit, reached in zip(self._ranges, cost, strict=True):
            good &= (limit.lower <= reached) & (reached <= limit.upper)
        tries = 3 if at < len(self._layers) else int(good.sum())
        for label in np.flatnonzero(good)[np.argsort(-value[good], kind="stable")][:tries]:
            if self._offer(labels.path(int(label)), at, int(labels.node[label])):
                return

    def _undominated(self, labels: Labels, at: int) -> Labels:
        """Return the labels without dominated ones; where limits are many, some of these stay."""
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


def _worth(prices: Vector, ranges: Sequence[Range]) -> float:
    """Return what the limits are worth at these prices."""
    ends = [r.upper if price > 0 else r.lower for price, r in zip(prices, ranges, strict=True)]
    return float(sum(price * end for price, end in zip(prices, ends, strict=True) if price != 0))


def _impossible(layers: Sequence[Layer], ranges: Sequence[Range]) -> bool:
    """Return whether prices prove that no path is within all limits.

    They do when even the path that costs least at these prices costs more than the limits are
    worth, by more than floats can be wrong.
    """
    prices = _multipliers(layers, ranges, None)
    if prices is None:
        return False
    costs = [-prices @ layer.cost for layer in layers]
    least = -float(to_go(layers, costs)[0][0])
    spent = sum(float(np.abs(cost).max()) for cost in costs)
    worth = _worth(prices, ranges)
    return least - worth > 1e-9 * (spent + abs(worth))


def _multipliers(
    layers: Sequence[Layer], ranges: Sequence[Range], values: Sequence[Vector] | None
) -> Vector | None:
    """Return the prices that bound best: multipliers of the limits in the linear relaxation.

    Its variables are the arcs, a unit of flow from start to end. None where even the relaxation
    has no solution. Without values, the prices of the relaxation that exceeds all limits by as
    little as possible.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    sizes = [len(layer.option) for layer in layers]
    node = np.concatenate([[0], np.cumsum([layer.nodes for layer in layers])])
    arcs = np.arange(sum(sizes))
    source = np.concatenate([n + layer.source for n, layer in zip(node, layers, strict=False)])
    target = np.concatenate([n + layer.target for n, layer in zip(node[1:], layers, strict=True)])
    flow = np.repeat([1.0, -1.0], len(arcs))
    shape = (int(node[-1]) + 1, len(arcs) + 1)  # the last variable is the excess
    ends = np.concatenate([source, target])
    balance: Any = coo_array((flow, (ends, np.tile(arcs, 2))), shape=shape).tocsr()
    supply = np.zeros(shape[0])
    supply[0] = 1.0
    cost = np.concatenate([layer.cost for layer in layers], axis=1)
    sides = [(i, 1.0, limit.upper) for i, limit in enumerate(ranges) if np.isfinite(limit.upper)]
    sides += [(i, -1.0, -limit.lower) for i, limit in enumerate(ranges) if np.isfinite(limit.lower)]
    scale = np.abs(cost).max(axis=1)
    scale[scale == 0] = 1.0
    most = 1.0
    objective = np.zeros(shape[1])
    if values is None:
        objective[-1] = 1.0
    else:
        most = max(float(np.abs(value).max()) for value in values) or 1.0
        objective[:-1] = -np.concatenate(values) / most
    excess = -1.0 if values is None else 0.0
    solved: Any = linprog(
        objective,
        A_ub=np.array([[*(sign * cost[i] / scale[i]), excess] for i, sign, _ in sides]),
        b_ub=[limit / scale[i] for i, _, limit in sides],
        A_eq=balance[:-1],
        b_eq=supply[:-1],
        method="highs",
    )
    if solved.status != 0:
        return None
    prices = np.zeros(len(ranges))
    for (i, sign, _), marginal in zip(sides, solved.ineqlin.marginals, strict=True):
        prices[i] += sign * max(0.0, -float(marginal)) * most / scale[i]
    return prices
