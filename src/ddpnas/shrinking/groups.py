"""Groups: which channels of a network can be cut, and what they belong to.

Channels that can only be cut together form a class (:mod:`ddpnas.shrinking._trace`), such as one
channel of a residual stream with its row in every layer that writes to the stream and its column
in every layer that reads it. Classes that touch the same axes of the same weights are alike: any
number of them can stay. A group consists of one such *part*. Where parts have to shrink in step,
as the two halves of a stream that is split, they form one group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Group", "Part", "Positions", "width_options"]

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """An axis of a parameter or buffer.

    Attributes:
        tensor: First path of the tensor in the network, such as "conv1.weight".
        index: Number of the axis.
    """

    tensor: str
    index: int


@dataclass(frozen=True)
class Part:
    """Classes of channels that touch the same axes.

    Attributes:
        members: Axis of a weight -> where the channels stand along it: a row for each class, and
            in it the positions that go if the class is cut.
        marks: Numbers of the places in the network's code where these channels are told from
            others by where they stand, as halves of a stream.
    """

    members: Mapping[Axis, Positions] = field(repr=False)
    marks: frozenset[int] = frozenset()

    @property
    def classes(self) -> int:
        """Number of classes, each of which stays or goes."""
        return len(next(iter(self.members.values())))

    @property
    def signature(self) -> Any:
        """What classes of channels have in common that can stand for each other."""
        counts = frozenset((axis, found.shape[1]) for axis, found in self.members.items())
        return counts, self.marks


@dataclass(frozen=True)
class Group:
    """Channels that are cut together or in any number.

    Attributes:
        name: Path of the layer that makes the channels; of several, the first that runs.
        channels: Number of channels of that layer that belong to the group.
        step: So many channels stay or go together, such as those of a block of a grouped
            convolution.
        widths: The numbers of channels to which it can be cut, the largest last.
        parts: Its classes of channels.
        share: Share of the network's multiply-adds that would go with all of its channels.
        kind: "free"; "impossible" if the network could not run without some of the channels, or
            would have another output; "unknown" if an operation is not understood; "kept" if you
            asked for it.
        fixed: What keeps the channels from being cut; empty for a free group.
        layouts: For a group of several parts, width -> for each part, its axes and where its
            classes stand there when the group has that width.

    Example:
        >>> from torch import nn
        >>> from ddpnas.shrinking import find_groups
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 1))
        >>> for group in find_groups(model, (3, 8, 8)):
        ...     print(group.name, group.widths, group.fixed or "free")
        0 (8, 16) free
        2 (10,) the network's output
    """

    name: str
    channels: int
    step: int
    widths: tuple[int, ...]
    parts: tuple[Part, ...] = field(repr=False)
    share: float
    kind: Literal["free", "impossible", "unknown", "kept"] = "free"
    fixed: str = ""
    layouts: Mapping[int, tuple[Mapping[Axis, Positions], ...]] = field(
        default_factory=dict, repr=False
    )

    @property
    def free(self) -> bool:
        """Whether channels can be cut."""
        return self.kind == "free"

    @property
    def is_open(self) -> bool:
        """Whether there are several widths to choose from."""
        return len(self.widths) > 1

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of weights that it touches."""
        return tuple(dict.fromkeys(axis for part in self.parts for axis in part.members))

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of the layers whose weights it touches."""
        return tuple(dict.fromkeys(axis.tensor.rpartition(".")[0] for axis in self.axes))

    def counts(self, width: int) -> tuple[int, ...]:
        """Return how many classes of each part stay.

        Args:
            width: One of :attr:`widths`.
        """
        if width == self.channels:
            return tuple(part.classes for part in self.parts)
        if len(self.parts) == 1:
            return (width // self.step,)
        layout = self.layouts[width]
        return tuple(len(next(iter(places.values()), ())) for places in layout)

    def size(self, axis: Axis, width: int) -> int:
        """Return how many positions along an axis belong to the group at some width."""
        counts = self.counts(width)
        return sum(
            count * part.members[axis].shape[1]
            for count, part in zip(counts, self.parts, strict=True)
            if axis in part.members
        )


def width_options(
    channels: int, step: int, fractions: Sequence[float], divisor: int
) -> tuple[int, ...]:
    """Return the widths of a group: fractions of its channels, rounded to multiples of a divisor.

    Args:
        channels: The channels.
        step: So many channels stay or go together.
        fractions: Shares of the channels. All of them is an option anyway.
        divisor: Widths below all channels are multiples of it, and of the step.

    Example:
        >>> width_options(58, 1, (0.25, 0.5), 8)
        (16, 32, 58)
    """
    unit = math.lcm(step, divisor)
    rounded = {max(unit, round(share * channels / unit) * unit) for share in fractions}
    return (*sorted(width for width in rounded if width < channels), channels)
