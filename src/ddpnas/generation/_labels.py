"""Labels: partial architectures, each with its value and costs, that grow a decision at a time.

This is label setting with dominance, as for resource-constrained shortest paths. A label is dropped
when another one in the same node is at least as good in the value and in everything that limits or
costs can still depend on: whatever completes the one completes the other, too.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ddpnas.generation._diagram import Costs, Diagram, Indices, Layer, Vector, to_go
from ddpnas.generation.limits import Limit

__all__ = ["Labels", "Range", "nondominated"]

Mask = npt.NDArray[np.bool_]


class Range:
    """What the rest of a diagram can add to one cost, and the limit on the whole of it.

    Labels are compared by :meth:`excess` and :meth:`deficit`: by how far the limit can still be
    violated, not by their cost. A label that is safe whatever follows has 0, and is dominated by
    any other safe one of a larger value, even if that one costs more.

    Args:
        diagram: The legal architectures.
        table: Row of the cost.
        limit: The limit, in the unit of the table.

    Attributes:
        lower, upper: The limit in whole numbers, without the fixed part.
    """

    def __init__(self, diagram: Diagram, table: int, limit: Limit) -> None:
        self.table = table
        self.lower, self.upper = diagram.ends(table, limit)
        costs = [layer.cost[table] for layer in diagram.layers]
        self.most = to_go(diagram.layers, costs)
        self.least = [-ahead for ahead in to_go(diagram.layers, [-cost for cost in costs])]

    def reachable(self, labels: Labels, at: int) -> Mask:
        """Return which labels before layer ``at`` can end within the limit."""
        cost = labels.cost[self.table]
        least, most = self.least[at][labels.node], self.most[at][labels.node]
        return np.asarray((cost + least <= self.upper) & (cost + most >= self.lower))

    def excess(self, labels: Labels, at: int) -> Vector:
        """Return how far the most expensive completion is above the limit, as :func:`_ordered`."""
        if self.upper == math.inf:
            return np.zeros(len(labels))
        above = labels.cost[self.table] + self.most[at][labels.node] - self.upper
        return _ordered(np.maximum(above, 0))

    def deficit(self, labels: Labels, at: int) -> Vector:
        """Return how far the cheapest completion is below the limit, as :func:`_ordered`."""
        if self.lower == -math.inf:
            return np.zeros(len(labels))
        below = self.lower - labels.cost[self.table] - self.least[at][labels.node]
        return _ordered(np.maximum(below, 0))


def _ordered(costs: Costs) -> Vector:
    """Return floats that compare as the costs do: these themselves, or their ranks."""
    if costs.dtype == np.float64:
        return costs
    return np.unique(costs, return_inverse=True)[1].astype(np.float64)


@dataclass(frozen=True)
class Labels:
    """Partial architectures before a layer.

    Attributes:
        node: The node that each has reached, (labels,).
        value: The sum of its values, (labels,).
        cost: The sums of its costs, (tables, labels).
        origin, option: Which label of the layer before it continues, and by which option, so that
            a path can be read back.
        before: The labels of the layer before; None at the start.
    """

    node: Indices
    value: Vector
    cost: Costs
    origin: Indices
    option: Indices
    before: Labels | None

    @classmethod
    def start(cls, diagram: Diagram) -> Labels:
        """Return the one label that has decided nothing."""
        zero = np.zeros(1, dtype=np.intp)
        cost = np.zeros((diagram.tables, 1), dtype=diagram.dtype)
        return cls(zero, np.zeros(1), cost, zero, zero, None)

    def __len__(self) -> int:
        return len(self.node)

    def extend(self, layer: Layer, values: Vector) -> Labels:
        """Return every label continued by every arc from its node."""
        # Labels sorted by node: those of an arc's source are a slice.
        by_node = np.argsort(self.node, kind="stable")
        starts = np.searchsorted(self.node[by_node], np.arange(layer.nodes + 1))
        pieces = [by_node[starts[s] : starts[s + 1]] for s in layer.source]
        sizes = [len(piece) for piece in pieces]
        origin = np.concatenate(pieces)
        arc = np.repeat(np.arange(len(pieces)), sizes)
        return Labels(
            layer.target[arc],
            self.value[origin] + values[arc],
            self.cost[:, origin] + layer.cost[:, arc],
            origin,
            layer.option[arc],
            self,
        )

    def keep(self, chosen: Mask | Indices) -> Labels:
        """Return only the chosen labels."""
        return Labels(
            self.node[chosen],
            self.value[chosen],
            self.cost[:, chosen],
            self.origin[chosen],
            self.option[chosen],
            self.before,
        )

    def costs(self, tables: int) -> list[Vector]:
        """Return the first costs of each label, as :func:`_ordered`."""
        return [_ordered(self.cost[i]) for i in range(tables)]

    def best(self, dimensions: Sequence[Vector]) -> Indices:
        """Return the labels that no other in the same node dominates.

        Args:
            dimensions: Quantities in addition to the value, of which less is better.
        """
        nodes = np.unique(self.node)
        if len(nodes) < 2:
            return nondominated(self.value, dimensions)
        found = []
        for node in nodes:
            at = np.flatnonzero(self.node == node)
            found.append(at[nondominated(self.value[at], [d[at] for d in dimensions])])
        return np.concatenate(found)

    def path(self, label: int) -> list[int]:
        """Return the options that a label has chosen, layer by layer."""
        options = []
        labels: Labels | None = self
        while labels is not None and labels.before is not None:
            options.append(int(labels.option[label]))
            label = int(labels.origin[label])
            labels = labels.before
        return options[::-1]


def nondominated(value: Vector, dimensions: Sequence[Vector]) -> Indices:
    """Return the points that no other dominates; of equal points the first.

    Args:
        value: The value of each point, of which more is better.
        dimensions: Further quantities of each point, of which less is better.
    """
    # A dimension in which all are equal decides nothing. Sorted by the first dimension, a point
    # can only be dominated by an earlier one, which leaves one dimension less to compare.
    dimensions = [d for d in dimensions if d.size and d.min() < d.max()]
    order = np.lexsort((-value, *dimensions[::-1]))
    if len(dimensions) == 2:
        return order[_staircase(value[order], dimensions[1][order])]
    if len(dimensions) < 2:
        ordered = value[order]
        best_before = np.maximum.accumulate(np.concatenate([[-np.inf], ordered[:-1]]))
        return order[ordered > best_before]
    return order[_compared(np.array([-value, *dimensions[1:]])[:, order])]


def _staircase(value: Vector, second: Vector) -> list[int]:
    """Return which of the points, given by rising first dimension, no earlier one dominates.

    For two dimensions: O(n log n), with the best value so far for every second dimension as a
    staircase.
    """
    kept = []
    steps: list[float] = []  # second dimension, rising, of the best values so far
    values: list[float] = []  # these values, rising
    for i, (v, b) in enumerate(zip(value.tolist(), second.tolist(), strict=True)):
        at = bisect.bisect_right(steps, b)
        if at > 0 and values[at - 1] >= v:
            continue
        start = at - 1 if at > 0 and steps[at - 1] == b else at
        end = at
        while end < len(values) and values[end] <= v:
            end += 1
        steps[start:end] = [b]
        values[start:end] = [v]
        kept.append(i)
    return kept


def _compared(points: Vector, block: int = 256) -> Indices:
    """Return the same as :func:`_staircase` for dimensions x points, by comparing all with all.

    Blocks of points, and of at most 4,096 kept ones, bound the size of a comparison to a megabyte.
    """
    kept = np.zeros(0, dtype=np.intp)
    for start in range(0, points.shape[1], block):
        at = np.arange(start, min(start + block, points.shape[1]))
        for earlier in np.array_split(kept, max(1, len(kept) // 4096)):
            worse = np.ones((len(earlier), len(at)), dtype=np.bool_)
            for row in points:
                worse &= row[earlier, None] <= row[at]
            at = at[~worse.any(axis=0)]
        worse = np.ones((len(at), len(at)), dtype=np.bool_)
        for row in points:
            worse &= row[at, None] <= row[at]
        kept = np.concatenate([kept, at[~np.triu(worse, 1).any(axis=0)]])
    return kept
