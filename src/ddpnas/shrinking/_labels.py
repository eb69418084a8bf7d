"""Labels: which channels of a network's weights the positions along a tensor's axes stand for.

Every position along every axis of a parameter is a *channel*, a whole number. An activation's axis
carries the channels of the weights that made it, or nothing where it has no channels: the batch,
rows, columns, tokens. An axis that has channels is said to be labeled.

    tensor                       shape                labels
    weight of Conv2d(3, 4, 1)    (4, 3, 1, 1)         {(0,): [0 1 2 3], (1,): [4 5 6]}
    its output for one image     (1, 4, 32, 32)       {(1,): [0 1 2 3]}
    flattened                    (1, 4096)            {(1,): [0 0 0 ... 3 3 3]}
    split into two groups        (1, 2, 2, 32, 32)    {(1, 2): [[0 1] [2 3]]}

In the last line the channel depends on two axes together. Such a label over several axes is
*joint*; it only arises by reshaping, and usually another reshaping ends it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Channels", "Factors", "Labels", "Reason", "reshaped"]

Channels = npt.NDArray[np.int64]
Factors = dict[tuple[int, ...], Channels]


@dataclass(frozen=True)
class Reason:
    """Why channels cannot be cut.

    Attributes:
        kind: "impossible" if the network could not run or would have another output without them,
            "unknown" if an operation is not understood, "kept" if you asked for it.
        text: The operation, or what else fixes them.
    """

    kind: Literal["impossible", "unknown", "kept"]
    text: str


@dataclass
class Labels:
    """The labels of a tensor.

    Attributes:
        shape: The tensor's shape.
        factors: Axes, in increasing order -> the channels along them, an array of their sizes. No
            axis is in two of them, and axes of size 1 are in none.
        reason: What fixes channels that meet the axes without labels.
        of_weights: Whether the tensor is computed from weights alone.
    """

    shape: tuple[int, ...]
    factors: Factors = field(default_factory=dict)
    reason: Reason | None = None
    of_weights: bool = False

    def along(self, axis: int) -> Channels | None:
        """Return the channels along an axis; None if channels do not lie along it."""
        return self.factors.get((axis % len(self.shape),))

    def joint(self) -> Iterator[Channels]:
        """Yield the labels over several axes together."""
        return (channels for axes, channels in self.factors.items() if len(axes) > 1)

    def labeled(self) -> set[int]:
        """Return the axes that have labels."""
        return set(itertools.chain(*self.factors))


def reshaped(
    factors: Factors, before: Sequence[int], after: Sequence[int]
) -> tuple[Factors, list[Channels]]:
    """Return the labels of a tensor after reshaping, and the channels that the labels lost.

    Args:
        factors: Labels before; see :class:`Labels`.
        before: Shape before.
        after: Shape after, of as many elements.

    Example:
        >>> labels, lost = reshaped({(1,): np.array([5, 6])}, (1, 2, 2), (1, 4))
        >>> labels[1,].tolist(), lost
        ([5, 5, 6, 6], [])
    """
    found: Factors = {}
    lost = []
    placed: set[tuple[int, ...]] = set()
    for old, new in _blocks(before, after):
        inside = [axes for axes in factors if set(axes) <= set(old)]
        if len(inside) > 1:  # two labeled axes become one
            lost += [factors[axes] for axes in inside]
            placed.update(inside)
        if len(inside) != 1:
            continue
        [axes] = inside
        placed.add(axes)
        sizes = [before[axis] if axis in axes else 1 for axis in old]
        spread = np.broadcast_to(factors[axes].reshape(sizes), [before[axis] for axis in old])
        array = spread.reshape([after[axis] for axis in new])
        differs = [k for k in range(len(new)) if (array != array.take([0], axis=k)).any()]
        if differs:
            kept = tuple(slice(None) if k in differs else 0 for k in range(len(new)))
            found[tuple(new[k] for k in differs)] = np.ascontiguousarray(array[kept])
        else:
            lost.append(factors[axes])
    lost += [channels for axes, channels in factors.items() if axes not in placed]
    return found, lost


def _blocks(
    before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the shortest runs of axes of both shapes that have as many elements as each other."""
    if 0 in before or 0 in after:
        return
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [], []
        if i < len(before):
            old.append(i)
            i += 1
        if j < len(after):
            new.append(j)
            j += 1
        while (have := math.prod(before[k] for k in old)) != (
            want := math.prod(after[k] for k in new)
        ):
            if have < want:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        yield tuple(old), tuple(new)
