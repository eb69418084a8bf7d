"""groups_of(): the groups of a traced network, as the labels alone suggest them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnas.shrinking._labels import Channels
from ddpnas.shrinking._trace import Trace
from ddpnas.shrinking.groups import Group, Part, Positions

__all__ = ["groups_of"]


def groups_of(trace: Trace, options: Callable[[int, int], tuple[int, ...]]) -> list[Group]:
    """Return the groups of a traced network, in the order in which their layers run.

    Channels that no layer makes by multiplying, such as those of the input, are left out.

    Args:
        trace: What a run told.
        options: Returns the widths of a free group, given its channels and its step.
    """
    axes = list(trace.axes)
    members = _members_by_class(trace)
    makers = _makers(trace)
    marks: dict[int, list[int]] = {}
    for mark, marked_channels in enumerate(trace.marks):
        for found in np.unique(trace.classes[marked_channels]).tolist():
            marks.setdefault(found, []).append(mark)
    alike: dict[Any, list[int]] = {}
    for found in sorted(makers, key=makers.__getitem__):
        signature = tuple((axis, len(positions)) for axis, positions in members[found])
        marked = frozenset(marks.get(found, ()))
        alike.setdefault((signature, marked, trace.reasons.get(found)), []).append(found)
    shares = _shares(trace, list(alike.values()))
    groups: list[Group] = []
    taken: set[str] = set()
    for ((signature, marked, reason), classes), share in zip(alike.items(), shares, strict=True):
        order = sorted(classes, key=lambda found: _first_place(members[found]))
        number, step = makers[classes[0]]
        where = [dict(members[found]) for found in order]
        places = {axes[axis]: np.stack([w[axis] for w in where]) for axis, _ in signature}
        channels = step * len(order)
        groups.append(
            Group(
                name=_unused(trace.multiplications[number].path or "network", taken),
                channels=channels,
                step=step,
                widths=(channels,) if reason else options(channels, step),
                parts=(Part(places, marked),),
                share=share,
                kind=reason.kind if reason else "free",
                fixed=reason.text if reason else "",
            )
        )
    return groups


def _members_by_class(trace: Trace) -> dict[int, list[tuple[int, Positions]]]:
    """Return, for each class, the axes that it touches by number, and its positions there."""
    channels = np.concatenate([np.zeros(0, np.int64), *trace.axes.values()])
    sizes = [len(found) for found in trace.axes.values()]
    axis = np.repeat(np.arange(len(sizes)), sizes)
    position = np.concatenate([np.zeros(0, np.int64), *(np.arange(size) for size in sizes)])
    classes = trace.classes[channels]
    order = np.lexsort((position, axis, classes))
    classes, axis, position = classes[order], axis[order], position[order]
    starts = np.flatnonzero((np.diff(classes, prepend=-1) != 0) | (np.diff(axis, prepend=-1) != 0))
    found: dict[int, list[tuple[int, Positions]]] = {}
    for start, end in itertools.pairwise([*starts.tolist(), len(classes)]):
        found.setdefault(int(classes[start]), []).append((int(axis[start]), position[start:end]))
    return found


def _makers(trace: Trace) -> dict[int, tuple[int, int]]:
    """Return, for each class that a layer makes, the number of the first one and its channels."""
    found: dict[int, tuple[int, int]] = {}
    for number, layer in enumerate(trace.multiplications):
        if layer.out is not None:
            classes, counts = np.unique(trace.classes[layer.out], return_counts=True)
            for one, count in zip(classes.tolist(), counts.tolist(), strict=True):
                found.setdefault(one, (number, count))
    return found


def _first_place(members: Sequence[tuple[int, Positions]]) -> tuple[int, int]:
    axis, positions = members[0]
    return axis, int(positions[0])


def _shares(trace: Trace, groups: Sequence[Sequence[int]]) -> list[float]:
    """Return the share of the multiply-adds that goes with each of some lists of classes."""
    number = np.full(len(trace.classes), len(groups))  # of the list in which a class is
    for k, classes in enumerate(groups):
        number[list(classes)] = k

    def shares(channels: Channels | None) -> Any:
        if channels is None:
            return np.zeros(len(groups))
        counts = np.bincount(number[trace.classes[channels]], minlength=len(groups) + 1)
        return counts[:-1] / len(channels)

    gone, total = np.zeros(len(groups)), 0
    for layer in trace.multiplications:
        out = shares(layer.out)
        into = shares(layer.into) if layer.blocks == 1 else 0  # blocks are cut on both sides
        gone += layer.macs * (1 - (1 - out) * (1 - into))
        total += layer.macs
    return [float(share) for share in gone / max(1, total)]


def _unused(name: str, taken: set[str]) -> str:
    """Return a name that no other group has."""
    names = itertools.chain([name], (f"{name}#{number}" for number in itertools.count(2)))
    unused = next(candidate for candidate in names if candidate not in taken)
    taken.add(unused)
    return unused
