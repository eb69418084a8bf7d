"""cut_channels(): a copy of a network in which layers are smaller, its code unchanged."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpnas.errors import ArchitectureError, nearest
from ddpnas.shrinking.groups import Axis, Group, Positions
from ddpnas.space.resizing import replace_tensor, set_sizes, tensor_places
from ddpnas.space.slices import TENSOR_SIZES
from ddpnas.space.widths import Width

__all__ = ["Order", "cut_channels", "cut_for_now", "kept_positions", "resize", "undecided_sizes"]

Order = Mapping[str, Sequence[Positions]]
"""Group -> for each of its parts, its classes from the most important to the least."""

Network = TypeVar("Network", bound=nn.Module)


def cut_channels(
    model: Network, groups: Sequence[Group], widths: Mapping[str, int], order: Order | None = None
) -> Network:
    """Return a copy of a network with fewer channels.

    Weights of the channels that stay are those of the network, in the same sequence. What shared a
    weight still shares it.

    Args:
        model: The network, on any device; it is not changed.
        groups: Its groups, as :func:`find_groups` returns them.
        widths: Group -> one of its widths; groups that are not named keep all channels.
        order: Group -> for each part, its classes of channels, the most important first; by default
            as they stand in the network.

    Raises:
        ArchitectureError: There is no such group, or it does not have that width.

    Example:
        >>> from ddpnas.shrinking import find_groups
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> cut_channels(model, find_groups(model, (4,)), {"0": 8})
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    known = {group.name: group for group in groups}
    for name, width in widths.items():
        if name not in known:
            raise ArchitectureError(nearest("group", name, known))
        if width not in known[name].widths:
            raise ArchitectureError(
                f"group {name!r} has {' or '.join(map(str, known[name].widths))} channels, "
                f"not {width}"
            )
    cut = copy.deepcopy(model)
    resize(cut, kept_positions(cut, groups, widths, order or {}))
    return cut


@contextlib.contextmanager
def cut_for_now(
    model: nn.Module, groups: Sequence[Group], widths: Mapping[str, int], order: Order
) -> Iterator[None]:
    """Let a network have fewer channels while the block runs; then it is as it was before.

    Only the weights that shrink exist twice meanwhile. Statistics of BatchNorm may be changed
    inside.

    Args:
        model: The network; it is changed in place.
        groups: See :func:`cut_channels`.
        widths: See :func:`cut_channels`.
        order: See :func:`cut_channels`.

    Example:
        >>> from ddpnas.shrinking import find_groups
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> with cut_for_now(model, find_groups(model, (4,)), {"0": 8}, {}):
        ...     model[0].out_features
        8
        >>> model[0].out_features
        16
    """
    positions = kept_positions(model, groups, widths, order)
    shrinking = {axis.tensor for axis in positions}
    held = [
        (module, name, tensor)
        for path, tensor, places in tensor_places(model)
        if path in shrinking
        for module, name in places
    ]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    statistics = [(b, b.clone()) for norm in norms for b in norm.buffers(recurse=False)]
    resize(model, positions)
    try:
        yield
    finally:
        for module, name, tensor in held:
            replace_tensor(module, name, tensor)
        for buffer, before in statistics:
            buffer.copy_(before)


def kept_positions(
    model: nn.Module, groups: Sequence[Group], widths: Mapping[str, int], order: Order
) -> dict[Axis, Positions]:
    """Return, for each axis that shrinks, the positions that stay, in their new sequence."""
    named = [*model.named_parameters(), *model.named_buffers()]
    sizes = {path: tuple(tensor.shape) for path, tensor in named}
    stays: dict[Axis, Any] = {}
    found: dict[Axis, Positions] = {}
    for group in groups:
        width = widths.get(group.name, group.channels)
        if width == group.channels:
            continue
        ranked = order.get(group.name) or [np.arange(part.classes) for part in group.parts]
        kept = [
            np.sort(ranks[:count]) for ranks, count in zip(ranked, group.counts(width), strict=True)
        ]
        if len(group.parts) > 1:
            for axis in group.axes:
                found[axis] = _laid_out(group, width, axis, kept)
            continue
        [part], [classes] = group.parts, kept
        gone = np.setdiff1d(np.arange(part.classes), classes)
        for axis, positions in part.members.items():
            size = sizes[axis.tensor][axis.index]
            stays.setdefault(axis, np.ones(size, dtype=bool))[positions[gone]] = False
    found |= {axis: np.flatnonzero(mask) for axis, mask in stays.items()}
    return found


def _laid_out(group: Group, width: int, axis: Axis, kept: Sequence[Positions]) -> Positions:
    """Return the old position of each new one, along an axis that only this group touches."""
    index = np.zeros(group.size(axis, width), dtype=np.int64)
    for part, places, classes in zip(group.parts, group.layouts[width], kept, strict=True):
        if axis in part.members:
            index[places[axis]] = part.members[axis][classes]
    return index


def resize(model: nn.Module, positions: Mapping[Axis, Positions]) -> None:
    """Cut the tensors of a network, and set the sizes that its layers keep as attributes.

    Args:
        model: Network; changed in place.
        positions: Axis -> the positions that stay.
    """
    by_tensor: dict[str, dict[int, Positions]] = {}
    for axis, stay in positions.items():
        by_tensor.setdefault(axis.tensor, {})[axis.index] = stay
    for path, tensor, places in tensor_places(model):
        if path not in by_tensor:
            continue
        smaller = tensor.detach()
        for index, stay in by_tensor[path].items():
            smaller = smaller.index_select(index, torch.from_numpy(stay).to(tensor.device))
        smaller = smaller.contiguous()
        if isinstance(tensor, nn.Parameter):
            smaller = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
        for module, name in places:
            replace_tensor(module, name, smaller)


def undecided_sizes(model: nn.Module, groups: Sequence[Group], widths: Mapping[str, Width]) -> None:
    """Let the layers of a network keep sizes that depend on undecided widths.

    Args:
        model: Network; changed in place. Its tensors stay whole.
        groups: Its groups.
        widths: Group -> its width.
    """
    touching: dict[Axis, list[Group]] = {}
    for group in groups:
        if group.name in widths:
            for axis in group.axes:
                touching.setdefault(axis, []).append(group)
    for path, tensor, places in tensor_places(model):
        whole = tuple(tensor.shape)
        sizes: list[Any] = list(whole)
        for index in range(len(sizes)):
            for group in touching.get(Axis(path, index), ()):
                of_group = _size(group, Axis(path, index), widths[group.name])
                sizes[index] = sizes[index] + of_group - int(of_group)
        if not any(isinstance(size, Width) for size in sizes):
            continue
        for module, name in places:
            held = vars(module).get(TENSOR_SIZES, ())
            vars(module)[TENSOR_SIZES] = (*held, (name, tuple(sizes)))
            own = {**module._parameters, **module._buffers}
            shapes = {n: tuple(t.shape) for n, t in own.items() if t is not None}
            set_sizes(module, {name: tuple(sizes)}, shapes)


def _size(group: Group, axis: Axis, width: Width) -> Any:
    """Return how many positions along an axis belong to a group, as a width."""
    most = group.size(axis, group.channels)
    factor, left = divmod(most, group.channels)
    sizes = {option: group.size(axis, option) for option in group.widths}
    if not left and all(size == factor * option for option, size in sizes.items()):
        return factor * width
    return width.map(sizes.__getitem__)
