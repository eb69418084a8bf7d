"""sort_channels(): the most important channels of a supernet first, so that narrow paths have them.

A narrower layer is the first channels of a wider one. Once-for-All sorts the channels of the
trained largest network before it opens widths (Cai et al., ICLR 2020, arXiv 1908.09791).

Notation.  w   weight of a layer that takes these channels, as a matrix (outputs, channels)
           I   importance of each channel:  I[c] = sum over layers of |w[:, c]|_1 / mean over c

Ours: all layers that take the channels count, where Once-for-All looks at the last of a block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpnas.space.supernet import Supernet
from ddpnas.utils.seeds import seeded

__all__ = ["sort_channels"]

logger = logging.getLogger(__name__)

_IMAGES = 4  # on which the sorted network is compared with the one before
_TOLERANCE = 1e-3


class _Axis(NamedTuple):
    """An axis of a tensor along which channels lie.

    Attributes:
        tensor: The tensor, whole.
        along: The axis.
        takes: Whether the layer takes these channels, as opposed to making or passing them.
    """

    tensor: Tensor
    along: int
    takes: bool


def sort_channels(
    supernet: Supernet,
    values: Mapping[str, Sequence[int]],
    opening: Sequence[str],
    input_shape: Sequence[int],
    momentum: Callable[[Tensor], Tensor | None] = lambda tensor: None,
) -> bool:
    """Sort the channels whose number depends on some decisions, the most important first.

    The widest networks compute what they did before. Channels that are not simply passed from layer
    to layer cannot be sorted, such as those that a layer reorders; then nothing changes.

    Args:
        supernet: The supernet. It is left in evaluation mode; set a path before it runs.
        values: The values of every width, from small to large.
        opening: The decisions.
        input_shape: Shape of an input, without the batch.
        momentum: Returns what an optimizer keeps of a parameter, which is sorted alike.

    Returns:
        Whether channels were sorted.

    Example:
        >>> from ddpnas import SearchSpace
        >>> def network(choose):
        ...     width = choose.width("hidden", (1, 3))
        ...     return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
        >>> supernet = SearchSpace(network, (2,)).supernet(seed=0)
        >>> last = supernet.network[2]
        >>> _ = last.weight.data.copy_(torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]))
        >>> sort_channels(supernet, {"hidden": (1, 3)}, ["hidden"], (2,)), last.weight[0].tolist()
        (True, [3.0, 2.0, 1.0])
    """
    largest = {name: sizes[-1] for name, sizes in values.items()}
    inputs = torch.zeros(_IMAGES, *input_shape, device=next(supernet.parameters()).device)
    with torch.no_grad(), seeded(0):
        inputs.normal_()
        before = _outputs(supernet, largest, inputs)
        supernet.slices.unset()
        moved: list[tuple[Tensor, Tensor]] = []  # (tensor, what it was)
        for decision in opening:
            for axes in _groups(supernet, largest, decision, values[decision]):
                if (order := _order(axes)) is None:
                    continue
                for axis in axes:
                    for tensor in (axis.tensor, momentum(axis.tensor)):
                        if tensor is not None:
                            moved.append((tensor, tensor.clone()))
                            tensor.copy_(tensor.index_select(axis.along, order))
        after = _outputs(supernet, largest, inputs)
        scale = _TOLERANCE * float(before.abs().max())
        if torch.allclose(before, after, rtol=_TOLERANCE, atol=scale):
            return bool(moved)
        for tensor, was in reversed(moved):
            tensor.copy_(was)
    logger.warning("channels are not only passed from layer to layer, so they stay unsorted")
    return False


def _outputs(supernet: Supernet, largest: Mapping[str, int], inputs: Tensor) -> Tensor:
    """Return the outputs of the widest networks, between them with every option of each choice."""
    supernet.slices.set({d: largest[d] for d in supernet.slices.decisions})
    supernet.eval()
    found = []
    for k in range(max((len(choice.names) for choice in supernet.choices), default=1)):
        for choice in supernet.choices:
            choice.active = k % len(choice.names)
        found.append(supernet(inputs))
    return torch.stack(found)


def _groups(
    supernet: Supernet, largest: Mapping[str, int], decision: str, values: Sequence[int]
) -> Iterator[list[_Axis]]:
    """Yield the axes that have the same length at every value of a decision.

    As all of them are sorted alike, it does no harm that some may have nothing to do with others.
    """
    found: dict[tuple[int, ...], dict[tuple[int, int], _Axis]] = {}
    for layer in supernet.slices.layers(decision):
        shapes = [layer.shapes({**largest, decision: value}) for value in values]
        transposed = isinstance(layer.module, nn.modules.conv._ConvTransposeNd)
        for name, tensor in layer.tensors().items():
            at = [of[name].sizes for of in shapes if name in of]
            for along in range(tensor.ndim if at else 0):
                lengths = tuple(sizes[along] for sizes in at)
                if len(set(lengths)) > 1:
                    takes = tensor.ndim > 1 and along == int(not transposed)
                    axis = _Axis(tensor, along, takes)
                    found.setdefault(lengths, {})[id(tensor), along] = axis
    for axes in found.values():
        yield list(axes.values())


def _order(axes: Sequence[_Axis]) -> Tensor | None:
    """Return the channels from the most important on; None if no layer takes them."""
    importance: Tensor | None = None
    for axis in axes:
        if axis.takes:
            others = [k for k in range(axis.tensor.ndim) if k != axis.along]
            found = axis.tensor.abs().sum(dim=others)
            found = found / found.mean().clamp(min=1e-30)
            importance = found if importance is None else importance + found
    return None if importance is None else importance.argsort(descending=True, stable=True)
