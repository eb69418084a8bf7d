"""MixedWidths: a supernet whose widths are mixed, in one run at their largest.

Notation.  v_k        values of a width, w (K,) their weights
           C          channels of a layer at its largest width
           m   (C,)   mask of its output:  m[c] = sum over k of w_k [c < v_k]

A layer runs at its largest width and its output is multiplied by m (Wan et al., "FBNetV2", CVPR
2020, arXiv 2004.05565). A channel that a narrower network lacks is 0 where its weight is 0, so that
one-hot weights give the path. Where a width depends on several decisions, such as a product, the
sum goes over all their values and w_k is the product of the weights. Each weight is added at the
last channel of its value, and m is the sum of what is added from c on: K + C numbers, not K C.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddpnas.errors import SpaceError
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.space.decisions import Decision
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.slices import Shape, at_widths, layout, widths_in, widths_of
from ddpnas.space.supernet import Supernet
from ddpnas.utils.seeds import seeded

__all__ = ["MixedWidths", "check_mixed_widths"]

_MOST = 4096  # combinations of values on which the width of one layer may depend

_CHECKED = 2  # random networks whose paths are compared
_TOLERANCE = 1e-3  # for rounding, which normalization over few items amplifies

# Layers that can run on channels of zeros as if they were not there, and the axis of the channels
# in their outputs.
_AXES: tuple[tuple[Any, int], ...] = (
    (nn.modules.conv._ConvNd, 1),
    (nn.Linear, -1),
    (nn.modules.batchnorm._BatchNorm, 1),
)


class MixedWidths:
    """Runs a supernet at mixed widths, inside a context.

    Args:
        supernet: The supernet.
        decisions: The decisions of its space.

    Raises:
        SpaceError: A layer of an open width is of a kind that cannot be mixed.

    Example:
        >>> from ddpnas import SearchSpace
        >>> def network(choose):
        ...     width = choose.width("hidden", (1, 2))
        ...     return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
        >>> space = SearchSpace(network, (3,))
        >>> supernet = space.supernet()
        >>> widths = MixedWidths(supernet, space.decisions)
        >>> with widths({"hidden": torch.tensor([0.5, 0.5])}):
        ...     supernet(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """

    def __init__(self, supernet: Supernet, decisions: Sequence[Decision]) -> None:
        self._slices = supernet.slices
        values = {d.name: [int(v) for v in d.values] for d in decisions if d.values is not None}
        self._layers: list[_Masked] = []
        present = self._slices.present
        self._slices.unset()
        for name, module in supernet.network.named_modules():
            if widths_of(module):
                masked = _masked(name, module, values)
                if masked is not None:
                    self._layers.append(masked)
        if present is not None:
            self._slices.set(present)

    @contextlib.contextmanager
    def __call__(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Return the context in which layers have these widths.

        Args:
            weights: Name of a decision -> weights of its options, (K,). The supernet is left at its
                largest widths; setting a path changes them.
        """
        if not self._layers:
            yield
            return
        self._slices.unset()
        handles = [layer.mask(weights) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def check_mixed_widths(supernet: Supernet, space: SearchSpace, inputs: Tensor) -> None:
    """Check that a network at one-hot widths computes what its path does.

    Args:
        supernet: The supernet; it is left in evaluation mode.
        space: Its space.
        inputs: Inputs on the device of the supernet.

    Raises:
        SpaceError: It computes something else, such as the mean over all channels.
    """
    if not supernet.slices:
        return
    mixed, widths = MixedChoices(supernet), MixedWidths(supernet, space.decisions)
    supernet.eval()
    rng = np.random.default_rng(0)
    for _ in range(_CHECKED):
        path = space.sample(rng)
        chosen = {d.name: d.index(path[d.name]) for d in space.decisions}
        one_hot = {
            d.name: torch.eye(len(d.options), device=inputs.device)[chosen[d.name]]
            for d in space.decisions
        }
        draws = {name: Draw(row, (chosen[name],)) for name, row in one_hot.items()}
        with torch.no_grad(), seeded(0):
            with mixed(draws), widths(one_hot):
                found = supernet(inputs)
            supernet.set_path(path)
            expected = supernet(inputs)
        tolerance = _TOLERANCE * float(expected.abs().max())
        if not torch.allclose(found, expected, rtol=_TOLERANCE, atol=tolerance):
            raise SpaceError(
                f"space {space.name!r} computes with channels that a narrower network lacks, as a "
                f"mean over channels or a function that is not 0 at 0 does, so its widths cannot "
                f"be mixed; use a strategy that trains paths, such as ddpnas"
            )


class _Masked:
    """A layer whose number of output channels is open.

    Attributes:
        module: The layer.
        decisions: The decisions on which the number depends.
        last: (K_1 ... K_n,) place of the last channel at these values, among ``shape`` flattened.
        shape: Blocks of output channels, and channels in each, at the largest widths.
        axis: Axis of the channels in the output.
    """

    def __init__(
        self,
        module: nn.Module,
        decisions: Sequence[str],
        last: Tensor,
        shape: tuple[int, int],
        axis: int,
    ) -> None:
        self.module, self.decisions, self.axis = module, tuple(decisions), axis
        self.last, self.shape = last, shape

    def mask(self, weights: Mapping[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
        """Multiply every output by the mask from now on; return what ends it."""
        mixed: Tensor | None = None

        def multiply(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            nonlocal mixed
            if mixed is None:
                mixed = self._mixed([weights[name].to(output) for name in self.decisions])
            after = 0 if self.axis == -1 else output.dim() - 2
            return output * mixed.view(-1, *[1] * after)

        return self.module.register_forward_hook(multiply)

    def _mixed(self, rows: Sequence[Tensor]) -> Tensor:
        """Return m, (C,), from the weights of each decision."""
        product = rows[0]
        for row in rows[1:]:
            product = (product[:, None] * row).flatten()
        ends = product.new_zeros(self.shape[0] * self.shape[1])
        ends = ends.index_add(0, self.last.to(ends.device), product).view(self.shape)
        return ends.flip(0, 1).cumsum(0).cumsum(1).flip(0, 1).flatten()


def _masked(name: str, module: nn.Module, values: Mapping[str, Sequence[int]]) -> _Masked | None:
    """Return the mask of a layer; None if its number of output channels is not open."""
    axis = next((axis for kind, axis in _AXES if isinstance(module, kind)), None)
    if axis is None:
        if isinstance(module, nn.PReLU):  # zeros stay zeros
            return None
        raise SpaceError(
            f"layer {name!r}, a {type(module).__name__}, has an open width, which can be mixed in "
            f"convolutions, linear layers and BatchNorm only; use a strategy that trains paths, "
            f"such as ddpnas"
        )
    attributes = widths_of(module)
    found = [w for value in attributes.values() for w in widths_in(value)]
    decisions = list(dict.fromkeys(d for width in found for d in width.decisions))
    if math.prod(len(values[d]) for d in decisions) > _MOST:
        raise SpaceError(
            f"the width of layer {name!r} depends on more than {_MOST:,} combinations of "
            f"{', '.join(decisions)}, too many to mix"
        )

    def blocks(chosen: Mapping[str, int]) -> tuple[int, int]:
        """Return (number of blocks of output channels, channels in each)."""
        probe = copy.copy(module)
        vars(probe).update({n: at_widths(v, chosen) for n, v in attributes.items()})
        shape: Shape = (layout(probe) or {})["bias"]
        return shape.blocked[0], shape.blocked[1]

    whole = blocks({d: values[d][-1] for d in decisions})
    last = []
    for chosen in itertools.product(*(values[d] for d in decisions)):
        count, channels = blocks(dict(zip(decisions, chosen, strict=True)))
        last.append((count - 1) * whole[1] + channels - 1)
    if min(last) == whole[0] * whole[1] - 1:  # only its inputs are open
        return None
    return _Masked(module, decisions, torch.tensor(last), whole, axis)
