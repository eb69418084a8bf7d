"""find_groups(): the groups of channels of a network, each of which was tried.

Labels suggest groups (:mod:`ddpnas.shrinking._trace`). Whether a network runs with fewer channels
also depends on its Python code, which may use sizes that labels do not show, such as the width at
which a tensor is split. So networks are cut and traced again. Every channel that stayed must be
coupled with the same channels as before. A group for which that fails may have to shrink in step
with its neighbors; otherwise it is fixed.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ddpnas.errors import OptionError, SpaceError, reason_of
from ddpnas.shrinking._classes import groups_of
from ddpnas.shrinking._labels import Reason
from ddpnas.shrinking._trace import Trace, made_by_a_run, trace
from ddpnas.shrinking._tying import Options, clusters, tie
from ddpnas.shrinking.cutting import kept_positions, resize
from ddpnas.shrinking.groups import Group, width_options
from ddpnas.space.copies import copied
from ddpnas.space.meta import move_to_meta
from ddpnas.utils.settings import Count, checked
from ddpnas.utils.shapes import Range

__all__ = ["DIVISOR", "FRACTIONS", "find_groups"]

FRACTIONS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
DIVISOR = 8

Fractions = Sequence[Annotated[float, Range(above=0, most=1)]]


def find_groups(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    fractions: Fractions = FRACTIONS,
    divisor: Count = DIVISOR,
    keep: Sequence[str] = (),
    input_dtype: torch.dtype = torch.float32,
) -> list[Group]:
    """Return the groups of channels of a network, in the order in which its layers run.

    Args:
        model: The network, on any device; it is not changed.
        input_shape: Shape of one input, without the batch.
        fractions: Shares of its channels that a group may keep.
        divisor: Numbers of channels are multiples of it.
        keep: Paths of layers whose channels all stay. A path stands for what lies inside, too.
        input_dtype: Type of the input.

    Raises:
        SpaceError: The network does not run on such an input on the meta device, where tensors have
            no values; the message names the line.
        OptionError: A path in ``keep`` is not one of a layer that makes channels.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 1))
        >>> [(group.name, group.free) for group in find_groups(model, (3, 8, 8))]
        [('0', True), ('2', False)]
    """
    checked("fractions", Fractions, fractions)
    checked("divisor", Count, divisor)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
        raise SpaceError(
            f"{lazy[0]} of {type(model).__name__} has no size yet, as its layer is lazy; run the "
            f"network on an input once"
        )
    bare = move_to_meta(copied(model)).eval()
    look: Look = functools.partial(trace, input_shape=input_shape, input_dtype=input_dtype)
    options = functools.partial(width_options, fractions=fractions, divisor=divisor)
    try:
        new = made_by_a_run(bare, input_shape, input_dtype)
        whole = look(copy.deepcopy(bare))  # what runs may make tensors of another size again
    except Exception as error:
        raise SpaceError(
            f"{type(model).__name__} does not run on an input of "
            f"{'x'.join(map(str, input_shape))}{_where(error)}: {reason_of(error)}"
        ) from error
    groups = [_unmade(group, new) for group in groups_of(whole, options)]
    groups = _kept(groups, keep)
    return _tried(bare, whole, groups, look, options)


def _where(error: Exception) -> str:
    """Return the line of the network's code that failed."""
    libraries = [Path(torch.__file__).parent, Path(__file__).parents[1]]
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(library) for library in libraries)
    ]
    if not lines:
        return ""
    text = f" `{lines[-1].line}`" if lines[-1].line else ""
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno}{text})"


Look = Callable[..., Trace]


def _unmade(group: Group, new: set[str]) -> Group:
    """Return the group, fixed if the given network does not have all of its tensors yet."""
    missing = next((axis.tensor for axis in group.axes if axis.tensor in new), None)
    if missing is None or not group.free:
        return group
    text = f"{missing} gets its size when the network first runs; run it on an input once"
    return _fixed(group, Reason("unknown", text))


def _kept(groups: list[Group], keep: Sequence[str]) -> list[Group]:
    """Return the groups, fixed where you asked for it."""

    def is_kept(path: str, layer: str) -> bool:
        return layer == path or layer.startswith(f"{path}.")

    for path in keep:
        if not any(is_kept(path, layer) for group in groups for layer in _makers(group)):
            names = ", ".join(group.name for group in groups[:8])
            raise OptionError(
                f"no layer that makes channels is at {path!r}, so it cannot be kept; such layers "
                f"are {names}, ..."
            )
    return [
        _fixed(group, Reason("kept", "kept as asked"))
        if group.free and any(is_kept(p, layer) for p in keep for layer in _makers(group))
        else group
        for group in groups
    ]


def _makers(group: Group) -> tuple[str, ...]:
    """Return the paths of the layers whose outputs the channels are."""
    first = (axis.tensor for axis in group.axes if axis.index == 0)
    return (group.name, *(tensor.rpartition(".")[0] for tensor in first))


def _fixed(group: Group, reason: Reason) -> Group:
    return dataclasses.replace(
        group, kind=reason.kind, fixed=reason.text, widths=(group.channels,), layouts={}
    )


def _tried(
    bare: nn.Module, whole: Trace, groups: list[Group], look: Look, options: Options
) -> list[Group]:
    """Return the groups after trials: those that cannot be cut are fixed, or tied to others."""
    if _all_work(bare, whole, groups, look):
        return groups

    quick = functools.partial(look, training=(False,))

    known: dict[tuple[str, ...], str] = {}  # a trial takes up to a second

    def failure(some: Sequence[Group]) -> str:
        names = tuple(group.name for group in some)
        if names not in known:
            known[names] = _failure(bare, whole, groups, _smallest(some), quick)
        return known[names]

    for cluster in _failing(clusters(groups), failure):
        tied = tie(bare, cluster, quick, options)
        if tied and not _failure(bare, whole, [tied], _smallest([tied]), quick):
            groups = [tied if g is cluster[0] else g for g in groups]
            groups = [g for g in groups if not any(g is other for other in cluster)]
            continue
        for [group] in _failing([[group] for group in cluster], failure):
            reason = Reason("impossible", failure([group]))
            groups = [_fixed(group, reason) if g is group else g for g in groups]
    # Groups that work alone may not work together. Fix one after the other until all do.
    while not _all_work(bare, whole, groups, look):
        works, fails = 0, len(groups)
        while fails - works > 1:
            middle = (works + fails) // 2
            if _failure(bare, whole, groups, _smallest(groups[:middle]), look):
                fails = middle
            else:
                works = middle
        reason = Reason("impossible", "the network cannot run when other groups are cut too")
        groups[works] = _fixed(groups[works], reason)
    return groups


def _failing(
    units: Sequence[list[Group]], failure: Callable[[Sequence[Group]], str]
) -> list[list[Group]]:
    """Return the units that cannot be cut alone, by cutting halves of all of them."""
    if not units or not failure([group for unit in units for group in unit]):
        return []
    if len(units) == 1:
        return [*units]
    middle = len(units) // 2
    return [*_failing(units[:middle], failure), *_failing(units[middle:], failure)]


def _smallest(groups: Sequence[Group]) -> dict[str, int]:
    """Return the smallest widths of groups that have several."""
    return {group.name: group.widths[0] for group in groups if group.is_open}


def _all_work(bare: nn.Module, whole: Trace, groups: Sequence[Group], look: Look) -> bool:
    """Return whether the network works at its smallest widths and at others."""
    rng = np.random.default_rng(0)
    mixed = {group.name: int(rng.choice(group.widths)) for group in groups}
    return not any(
        _failure(bare, whole, groups, widths, look) for widths in (_smallest(groups), mixed)
    )


def _failure(
    bare: nn.Module,
    whole: Trace,
    groups: Sequence[Group],
    widths: Mapping[str, int],
    look: Look,
) -> str:
    """Return why a network does not work at some widths; empty if it does.

    Args:
        bare: The network on the meta device.
        whole: What it told.
        groups: Its groups.
        widths: Group -> width.
        look: Traces a network.
    """
    if not widths:
        return ""
    cut = copy.deepcopy(bare)
    positions = kept_positions(cut, groups, widths, {})
    resize(cut, positions)
    try:
        found = look(cut)
    except Exception as error:  # noqa: BLE001 - whatever the network's code raises
        return f"cut, the network fails: {reason_of(error)[:100]}"
    before, after = [], []
    for axis, channels in whole.axes.items():
        before.append(channels[positions[axis]] if axis in positions else channels)
        after.append(found.axes[axis])
    old, new = whole.classes[np.concatenate(before)], found.classes[np.concatenate(after)]
    made = np.isin(old, whole.made)
    old, new = old[made], new[made]
    pairs = np.unique(old * (len(found.classes) + 1) + new)
    # Channels may part, as where a single block is left of a grouped convolution.
    if len(pairs) == len(np.unique(new)) and len(whole.marks) == len(found.marks):
        marks = zip(whole.marks, found.marks, strict=True)
        if all(np.array_equal(whole.has(a)[old], found.has(b)[new]) for a, b in marks):
            return ""
    return "cut, other channels meet in the network: its code uses a size that does not shrink"
