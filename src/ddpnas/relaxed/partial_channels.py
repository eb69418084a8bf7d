"""Partial channels: a choice runs on the first 1 / K of its channels, the others pass it by.

Notation.  x   (N, C, H, W)  input of an edge         s  stride of the edge
           o                 what its options make    b  weight of the edge in the mixture

    y = b shuffle(cat(o(x[:, :C / K]), pool_s(x[:, C / K:])))

with a 2x2 maximum pooling where s is 2 and a shuffle in K groups (Xu et al., "PC-DARTS", ICLR 2020,
arXiv 1907.05737). This is a property of the supernet; built networks have no trace of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import OptionError, SpaceError
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Choice, Supernet

__all__ = ["PartialChannels", "edge_weights", "partial_supernet", "widen"]


class PartialChannels(nn.Module):
    """An edge whose choice sees a part of the channels.

    Args:
        choice: What runs on the first channels.
        channels: Their number, C / K.
        parts: K.
        stride: Stride of the edge, 1 or 2.

    Attributes:
        weight: Weight of the edge in a mixture; None counts 1.

    Example:
        >>> edge = PartialChannels(nn.Identity(), channels=2, parts=4, stride=1)
        >>> edge(torch.arange(8.0).view(1, 8, 1, 1)).flatten()
        tensor([0., 2., 4., 6., 1., 3., 5., 7.])
    """

    def __init__(self, choice: nn.Module, channels: int, parts: int, stride: int) -> None:
        super().__init__()
        self.choice, self.channels, self.stride = choice, channels, stride
        self.shuffle = nn.ChannelShuffle(parts)
        self.weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H / stride, W / stride)."""
        chosen, rest = self.choice(x[:, : self.channels]), x[:, self.channels :]
        if self.stride == 2:
            rest = functional.max_pool2d(rest, 2, 2, ceil_mode=True)
        if chosen is None:  # no connection
            chosen = rest.new_zeros(len(rest), self.channels, *rest.shape[2:])
        y: Tensor = self.shuffle(torch.cat([chosen, rest], dim=1))
        return y if self.weight is None else y * self.weight.to(y.dtype)


def partial_supernet(space: SearchSpace, parts: int, seed: int) -> Supernet:
    """Return a supernet whose choices run on a part of the channels.

    The options are those of the same space with 1 / K of the channels.

    Args:
        space: A space whose option ``channels`` sets the width of its cells.
        parts: K.
        seed: See :meth:`ddpnas.SearchSpace.supernet`.

    Raises:
        OptionError: The channels of the space cannot be divided by K.
        SpaceError: The space has no such option, or its choices change the number of channels.

    Example:
        >>> from ddpnas import create_space
        >>> space = create_space("nasbench201", channels=8, cells_per_stage=1)
        >>> supernet = partial_supernet(space, parts=4, seed=0)
        >>> supernet.choices[0].options[2][1]
        Conv2d(2, 2, kernel_size=(1, 1), stride=(1, 1), bias=False)
    """
    whole, channels = space.supernet(seed=seed), space.options.get("channels")
    refused = SpaceError(
        f"space {space.name!r} cannot run on a part of its channels: that needs cells whose edges "
        f"keep their channels, and an option channels, as darts and nasbench201 have"
    )
    if not isinstance(channels, int) or whole.slices:
        raise refused
    if channels % parts:
        raise OptionError(
            f"{channels} channels of space {space.name!r} cannot be divided into {parts} parts; "
            f"give a multiple: --space-options.channels {parts * -(-channels // parts)}"
        )
    narrow = space.with_options(channels=channels // parts).supernet(seed=seed)
    shapes, narrower = _shapes(whole, space), _shapes(narrow, space)
    for choice, other in zip(whole.choices, narrow.choices, strict=True):
        before, after = shapes.get(choice), narrower.get(other)
        if before is None or after is None or before.channels != parts * after.channels:
            raise refused
        choice.options = other.options
    edges = {
        choice: PartialChannels(choice, found.channels // parts, parts, found.stride)
        for choice, found in shapes.items()
    }
    for parent in list(whole.network.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, Choice) and not isinstance(parent, PartialChannels):
                parent._modules[name] = edges[child]
    return Supernet(whole.network)


def widen(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a weight for more channels, which repeats those that there are, in order.

    This is the copying of Net2WiderNet (Chen et al., ICLR 2016, arXiv 1511.05641). Inputs that are
    copied are not divided by the number of copies, since the norms behind them scale anyway.

    Args:
        tensor: The narrower weight.
        shape: Shape of the wider one, a multiple along every axis.

    Example:
        >>> widen(torch.tensor([[1.0, 2.0]]), (2, 4))
        tensor([[1., 2., 1., 2.],
                [1., 2., 1., 2.]])
    """
    return tensor.repeat([n // old for n, old in zip(shape, tensor.shape, strict=True)])


class _Shape(NamedTuple):
    """Channels and stride of a choice, all of whose outputs have the channels of its input."""

    channels: int
    stride: int


def _shapes(supernet: Supernet, space: SearchSpace) -> dict[Choice, _Shape]:
    """Return the shape of each choice that keeps its channels, from a run on two images."""
    found: dict[Choice, _Shape] = {}

    def note(choice: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None) -> None:
        x = inputs[0]
        if output is not None and x.dim() == output.dim() == 4 and x.shape[1] == output.shape[1]:
            stride = -(-x.shape[2] // output.shape[2])
            found[choice] = _Shape(x.shape[1], stride)  # type: ignore[index]

    handles = [choice.register_forward_hook(note) for choice in supernet.choices]
    even = {d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in space.decisions}
    draws = {name: Draw(row, tuple(range(len(row)))) for name, row in even.items()}
    with torch.no_grad(), MixedChoices(supernet)(draws):
        supernet(torch.zeros(2, *space.input_shape))
    for handle in handles:
        handle.remove()
    return found


@contextlib.contextmanager
def edge_weights(edges: Sequence[PartialChannels], draws: Mapping[str, Draw]) -> Iterator[None]:
    """Return the context in which edges have the weights of a draw.

    Args:
        edges: Edges of one supernet.
        draws: The draw, by the name of the decision.
    """
    for edge in edges:
        if isinstance(edge.choice, Choice):
            edge.weight = draws[edge.choice.decision].edge
    try:
        yield
    finally:
        for edge in edges:
            edge.weight = None
