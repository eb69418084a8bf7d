"""The best path of a diagram within limits, proven, and the next best ones.

The search is branch and bound by label setting, in four steps:

1. *Prices.* Relaxing the limits turns them into prices on the costs (Lagrangian relaxation); see
   :mod:`ddpnas.generation._prices`.
2. *Bounds.* The best path with prices, one sweep of the diagram, bounds everything that a partial
   architecture can become: with prices p >= 0 on costs c and limits c <= u, no completion is worth
   more than  value - p c + p u  plus the best reduced value of the rest.
3. *Labels* grow through the layers. Those whose bound does not exceed the best architecture so far
   are dropped, and so are dominated ones (:mod:`ddpnas.generation._labels`). The first pass keeps
   few labels a layer, to find a good architecture; later ones keep more. A pass that dropped none
   for want of room has proven the optimum.
4. *k best.* Taking a path out of a set of paths splits the rest into disjoint subproblems, whose
   optima are compared in turn (Lawler's partition).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnas.generation._diagram import Diagram, Indices, Layer, Vector, to_go
from ddpnas.generation._labels import Labels, Mask, Range
from ddpnas.generation._prices import are_impossible, best_prices, rough_costs, worth_of_limits
from ddpnas.generation.limits import Limit

__all__ = ["Path", "best_paths", "ranges_of"]

Subproblem = list[Mask]  # a set of paths: for each layer, which arcs they may use

# Most labels a layer of the first, second and third pass. The last one bounds memory: labels of
# three costs take 56 bytes, so a layer takes 6 MB at most. Beyond it the 0-1 program takes over.
_WIDTHS = (100, 3_000, 100_000)
# Comparing all labels with all is quadratic with three dimensions or more. They are compared with
# this many of the highest bounds only; dominated labels that stay cost time, but no exactness.
_COMPARED = 64
_TRIES = 3  # completions tried a layer: each is checked exactly, which takes a while


@dataclass(frozen=True)
class Path:
    """A path: its options, layer by layer, and the sum of its values."""

    options: list[int]
    value: float


def ranges_of(diagram: Diagram, limits: Sequence[Limit]) -> list[Range]:
    """Return the range of each cost of a diagram under its limit.

    Args:
        diagram: The legal architectures.
        limits: On each cost, in the units of the tables.
    """
    return [Range(diagram, i, limit) for i, limit in enumerate(limits)]


def best_paths(
    diagram: Diagram,
    values: Sequence[Vector],
    limits: Sequence[Limit],
    accept: Callable[[list[int]], bool],
    matter: Callable[[list[int]], Sequence[bool]],
) -> Iterator[Path]:
    """Yield the paths within the limits by falling value.

    Args:
        diagram: The legal architectures.
        values: The value of each arc of each layer, whole numbers.
        limits: On each cost, in the units of the tables.
        accept: Returns whether the options of a path are within the limits, exactly.
        matter: Returns for each layer whether a path that differs from the given one there alone
            counts as another one.

    Raises:
        OverflowError: More labels would be needed than there is room for.
    """
    if diagram.empty:
        return
    ranges = ranges_of(diagram, limits)
    if not all(limit.reachable(Labels.start(diagram), 0)[0] for limit in ranges):
        return
    search = _Search(diagram, list(values), ranges, accept)
    first = search.optimum()
    # Subproblems by falling bound: (-bound, number, its best path once that is known, itself). The
    # number makes entries of equal bound comparable.
    queue: list[tuple[float, int, Path | None, Subproblem]] = []
    if first is not None:
        queue.append((-first.value, 0, first, search.whole))
    number = 0
    while queue:
        _, _, path, subproblem = heapq.heappop(queue)
        if path is None:
            # Only a bound so far. It goes back with its optimum, and is yielded when that is due.
            path = search.within(subproblem)
            number += 1
            if path is not None:
                heapq.heappush(queue, (-path.value, number, path, subproblem))
            continue
        yield path
        for bound, rest in search.split(subproblem, path, matter(path.options)):
            number += 1
            heapq.heappush(queue, (-bound, number, None, rest))


class _Search:
    """One search: the prices, and the best path found so far.

    Args:
        diagram: The legal architectures.
        values: The value of each arc, whole numbers.
        ranges: Range of each cost, with its limit.
        accept: See :func:`best_paths`.
    """

    def __init__(
        self,
        diagram: Diagram,
        values: list[Vector],
        ranges: list[Range],
        accept: Callable[[list[int]], bool],
    ) -> None:
        self._diagram = diagram
        self._layers = layers = diagram.layers
        self._values = values
        self._ranges = ranges
        self._accept = accept
        self._best: Path | None = None
        self.whole = [np.ones(len(layer.option), dtype=np.bool_) for layer in layers]
        # By how much a bound can be too small. Values are whole, but prices are not, so that bounds
        # are sums of rounded floats. A rounding errs by at most 1/2 as long as numbers are below
        # 2**53, and values stay below 2**51. A layer takes part in about eight roundings: the
        # product with the prices, the difference to the value, and the sums from both ends; and in
        # another one where its costs are no floats.
        self._rough = [rough_costs(diagram, layer.cost) for layer in layers]
        self._slack = 4.0 * len(values) if diagram.dtype == np.float64 else 5.0 * len(values)

    def optimum(self) -> Path | None:
        """Return the best of all paths, None if none is within the limits."""
        # Without prices the best path of the diagram is the optimum, if it is within the limits.
        self._price(np.zeros(len(self._ranges)))
        self._offer([], 0, 0)
        if self._best is not None:
            return self._best
        prices = best_prices(self._diagram, self._rough, self._ranges, self._values)
        if prices is None:
            prices = np.zeros(len(self._ranges))
            if are_impossible(self._diagram, self._rough, self._ranges):
                return None
        self._price(prices)
        self._offer([], 0, 0)
        return self._solve(self.whole)

    def within(self, subproblem: Subproblem) -> Path | None:
        """Return the best path of a subproblem, None if none is within the limits."""
        self._best = None
        return self._solve(subproblem)

    def split(
        self, subproblem: Subproblem, path: Path, matters: Sequence[bool]
    ) -> Iterator[tuple[float, Subproblem]]:
        """Yield (bound, subproblem) that together are all of a subproblem but the path.

        Lawler's partition: the i-th one agrees with the path before layer i and differs there.
        Layers that do not matter are left free, so that paths which differ there alone are taken
        out, too.
        """
        arcs = list(subproblem)
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

    def _solve(self, arcs: Subproblem) -> Path | None:
        for width in _WIDTHS:
            if self._pass(arcs, width):
                return self._best
        raise OverflowError("too many partial architectures")

    def _price(self, prices: Vector) -> None:
        """Set the price of a unit of each cost; negative for a cost that has to be larger."""
        self._prices = prices
        self._constant = worth_of_limits(self._diagram, prices, self._ranges)
        self._reduced = [
            values - prices @ cost for values, cost in zip(self._values, self._rough, strict=True)
        ]
        self._ahead = to_go(self._layers, self._reduced)
        self._complete()

    def _complete(self) -> None:
        """Note the best completion from each node at these prices: first arc, value and costs."""
        self._first: list[Indices] = []
        self._rest_value = [np.zeros(1)]
        self._rest_cost = [Labels.start(self._diagram).cost]
        stages = zip(self._layers, self._reduced, self._values, self._ahead[1:], strict=True)
        for layer, reduced, values, ahead in reversed(list(stages)):
            through = reduced + ahead[layer.target]
            arc = np.lexsort((-through, layer.source))[layer.starts]  # the best arc of each node
            target = layer.target[arc]
            self._rest_value.append(values[arc] + self._rest_value[-1][target])
            self._rest_cost.append(layer.cost[:, arc] + self._rest_cost[-1][:, target])
            self._first.append(arc)
        for rest in (self._first, self._rest_value, self._rest_cost):
            rest.reverse()

    def _offer(self, options: list[int], at: int, node: int) -> bool:
        """Complete the options as the prices say; keep the path if it is the best so far.

        Args:
            options: The options of the layers before ``at``.
            at: The layer to go on from.
            node: The node that they lead to.

        Returns:
            Whether the path is within the limits.
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

    def _pass(self, arcs: Subproblem, width: int) -> bool:
        """Extend labels through all layers; return whether none was dropped for want of room."""
        complete = True
        # Completions take any arc: they are in the subproblem only behind its last restriction.
        free = max((at for at, used in enumerate(arcs, start=1) if not used.all()), default=0)
        labels = Labels.start(self._diagram)
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
            if len(labels) > width:  # the pass proves nothing any more, but may find a good path
                complete = False
                bound = self._bound(labels, at)
                labels = labels.keep(np.sort(np.argpartition(-bound, width)[:width]))
        return complete

    @property
    def _goal(self) -> float:
        """What a bound has to reach so that something better than the best is not ruled out.

        Values are whole numbers: better means better by at least 1.
        """
        return -np.inf if self._best is None else self._best.value + 1.0 - self._slack

    def _bound(self, labels: Labels, at: int) -> Vector:
        reduced = labels.value - self._prices @ rough_costs(self._diagram, labels.cost)
        return np.asarray(reduced + self._ahead[at][labels.node] + self._constant)

    def _promising(self, arcs: Subproblem) -> list[tuple[Layer, Mask]]:
        """Return each layer with those of the arcs whose bound is high enough.

        The best path through an arc is the best way to it, the arc, and the best way on.
        """
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
        """Complete the labels as the prices say; keep the best of what is within the limits."""
        if not len(labels):
            return
        value = labels.value + self._rest_value[at][labels.node]
        cost = labels.cost + self._rest_cost[at][:, labels.node]
        good = value > (-np.inf if self._best is None else self._best.value)
        for limit, reached in zip(self._ranges, cost, strict=True):
            good &= (limit.lower <= reached) & (reached <= limit.upper)
        # At the end labels are whole paths, and all that could be the best have to be looked at.
        tries = _TRIES if at < len(self._layers) else int(good.sum())
        for label in np.flatnonzero(good)[np.argsort(-value[good], kind="stable")][:tries]:
            if self._offer(labels.path(int(label)), at, int(labels.node[label])):
                return

    def _undominated(self, labels: Labels, at: int) -> Labels:
        """Return the labels without dominated ones; with many limits some of these stay.

        Keeping a dominated label is never wrong, it only takes time.
        """
        dimensions = [limit.excess(labels, at) for limit in self._ranges]
        dimensions += [limit.deficit(labels, at) for limit in self._ranges]
        dimensions = [d for d in dimensions if d.any()]
        if len(dimensions) < 3 or len(labels) < 4 * _COMPARED:
            return labels.keep(labels.best(dimensions))
        # Compare all with the few of the highest bounds. Equal labels must not drop each other.
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
