"""find_formula(): the multiply-adds of torch's operations, those that torch itself does not count.

A formula is called with the arguments of an operation and its result, ``out_val``, and returns
operations: two for each multiply-add. That is the form of ``torch.utils.flop_counter``, which has
formulas for products of matrices, convolutions and attention. Here are those for products with
vectors, and a few others.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

__all__ = ["ATEN_FORMULAS", "find_formula", "warn_without_formula"]

Formula = Callable[..., int]

logger = logging.getLogger(__name__)


def find_formula(operation: Any) -> Formula | None:
    """Return the formula of an operation; None if it multiplies nothing, as far as is known.

    Args:
        operation: An ``OpOverloadPacket``, such as ``torch.ops.aten.mv``.

    Example:
        >>> matrix, vector = torch.zeros(3, 8), torch.zeros(8)
        >>> find_formula(torch.ops.aten.mv)(matrix, vector, out_val=matrix @ vector)
        48
    """
    formula: Formula | None = flop_registry.get(operation) or ATEN_FORMULAS.get(operation)
    return formula or _OF_OTHERS.get(operation._qualified_op_name)


@functools.cache
def warn_without_formula(operation: Any) -> None:
    """Say, once in a process, that an operation of another package counts as no multiply-adds.

    Args:
        operation: Its ``OpOverloadPacket``.
    """
    logger.warning(
        "the operation %s counts as 0 multiply-adds: its formula is unknown; give one with "
        "torch.utils.flop_counter.register_flop_formula",
        operation._qualified_op_name,
    )


def _mv(matrix: Tensor, vector: Tensor, *, out_val: Any) -> int:
    return 2 * matrix.numel()


def _addmv(added: Tensor, matrix: Tensor, vector: Tensor, *, out_val: Any, **scales: Any) -> int:
    return 2 * matrix.numel()


def _dot(first: Tensor, second: Tensor, *, out_val: Any) -> int:
    return 2 * first.numel()


def _addbmm(added: Tensor, first: Tensor, second: Tensor, *, out_val: Any, **scales: Any) -> int:
    return 2 * first.numel() * second.shape[2]  # (b, n, m) times (b, m, p)


def _trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    *rest: Any,
    out_val: Any,
) -> int:
    """Two of three tensors are multiplied element by element and the third is summed over."""
    shapes: list[list[int]] = []
    for tensor, expanded in ((first, expand1), (second, expand2), (third, expand3)):
        given = iter(tensor.shape)
        axes = range(tensor.ndim + len(expanded))
        shapes.append([1 if axis in expanded else next(given) for axis in axes])
    return 2 * torch.Size(map(max, *shapes)).numel()


def _deform_conv2d(images: Tensor, weight: Tensor, *rest: Any, out_val: Any) -> int:
    """Count the convolution; where it reads between pixels, interpolation is left out."""
    count, _, height, width = out_val.shape
    return int(2 * count * height * width * weight.numel())


def _ours(formula: Formula) -> Formula:
    """Mark a formula as one that takes tensors, not their shapes, for ``FlopCounterMode``."""
    formula._get_raw = True  # type: ignore[attr-defined]
    return formula


ATEN_FORMULAS: Mapping[Any, Formula] = {
    torch.ops.aten.mv: _ours(_mv),
    torch.ops.aten.addmv: _ours(_addmv),
    torch.ops.aten.dot: _ours(_dot),
    torch.ops.aten.vdot: _ours(_dot),
    torch.ops.aten.addbmm: _ours(_addbmm),
    torch.ops.aten._trilinear: _ours(_trilinear),
}
# By name, because torch knows such operations only once their package is imported.
_OF_OTHERS: Mapping[str, Formula] = {"torchvision::deform_conv2d": _deform_conv2d}
