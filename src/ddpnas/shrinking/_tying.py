"""tie(): make one group of neighbors that have to shrink in step.

In a ShuffleNet, a stream of channels is split into halves, one half is computed, both are
interleaved, and so on. Which channels reach which layer depends on where they stand, so that none
of these parts can be cut alone. All parts that share an axis then become one group. The network is
made at the group's smaller widths, every axis in proportion, and traced: that tells how many
classes of each part there are, and where they stand.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from ddpnas.shrinking._classes import groups_of
from ddpnas.shrinking._trace import Trace
from ddpnas.shrinking.cutting import resize
from ddpnas.shrinking.groups import Axis, Group, Part, Positions

__all__ = ["Options", "clusters", "tie"]

Options = Callable[[int, int], tuple[int, ...]]

_TRIES = 2  # widths at which parts are tried in step before that is given up


def clusters(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the free groups in lists of those that share axes, directly or through others."""
    by_axis: dict[Axis, list[int]] = {}
    open_groups = [group for group in groups if group.free]
    for number, group in enumerate(open_groups):
        for axis in group.axes:
            by_axis.setdefault(axis, []).append(number)
    pairs = [(found[0], other) for found in by_axis.values() for other in found]
    some, others = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    size = (len(open_groups), len(open_groups))
    graph = coo_array((np.ones(len(some), np.int8), (some, others)), shape=size)
    count, labels = connected_components(graph, directed=False)
    return [
        [group for group, label in zip(open_groups, labels, strict=True) if label == number]
        for number in range(count)
    ]


def tie(
    bare: nn.Module,
    cluster: Sequence[Group],
    look: Callable[[nn.Module], Trace],
    options: Options,
) -> Group | None:
    """Return one group in place of several; None if they cannot shrink in step either.

    Args:
        bare: The network on the meta device.
        cluster: Groups that share axes, each of a single part.
        look: Traces a network.
        options: Returns the widths of a group, given its channels and its step.
    """
    if len(cluster) < 2:
        return None
    first = cluster[0]
    base = first.axes[0]
    parts = tuple(group.parts[0] for group in cluster)
    whole: dict[Axis, Positions] = {}
    for part in parts:
        for axis, positions in part.members.items():
            before = whole.get(axis, np.zeros(0, np.int64))
            whole[axis] = np.concatenate([before, positions.ravel()])
    channels = len(whole[base])
    layouts = {}
    for tries, width in enumerate(options(channels, 1)[:-1], 1):
        layout = _layout(bare, parts, whole, Fraction(width, channels), look)
        if layout is not None:
            layouts[width] = layout
        elif tries == _TRIES and not layouts:
            break
    if not layouts:
        return None
    return dataclasses.replace(
        first,
        channels=channels,
        step=1,
        widths=(*layouts, channels),
        parts=parts,
        share=min(1.0, sum(group.share for group in cluster)),
        layouts=layouts,
    )


def _layout(
    bare: nn.Module,
    parts: Sequence[Part],
    whole: Mapping[Axis, Positions],
    share: Fraction,
    look: Callable[[nn.Module], Trace],
) -> tuple[Mapping[Axis, Positions], ...] | None:
    """Return where the classes of each part stand when every axis keeps a share of its positions.

    None if the network does not run, or its parts are others.
    """
    sizes = {axis: len(positions) * share for axis, positions in whole.items()}
    if any(size.denominator > 1 for size in sizes.values()):
        return None
    small = copy.deepcopy(bare)
    shapes = dict([*small.named_parameters(), *small.named_buffers()])
    positions = {}
    for axis, size in sizes.items():
        gone = np.sort(whole[axis])[int(size) :]
        everywhere = np.arange(shapes[axis.tensor].shape[axis.index])
        positions[axis] = np.setdiff1d(everywhere, gone)
    resize(small, positions)
    try:
        found = groups_of(look(small), lambda channels, step: (channels,))
    except Exception:  # noqa: BLE001 - whatever the network's code raises
        return None
    smaller = {group.parts[0].signature: group.parts[0] for group in found}
    touched = {part.signature for part in parts}
    axes = set(whole)
    if any(set(group.axes) & axes and group.parts[0].signature not in touched for group in found):
        return None
    layout = []
    for part in parts:
        match = smaller.get(part.signature)
        if match is not None and match.classes > part.classes:
            return None
        nothing = {axis: p[:0] for axis, p in part.members.items()}
        layout.append(nothing if match is None else match.members)
    return tuple(layout)
