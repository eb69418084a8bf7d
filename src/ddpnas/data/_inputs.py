"""Bring inputs to tensors: images as (N, C, H, W) uint8, floats as float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpnas.data._images import channels_first
from ddpnas.errors import DataError

__all__ = ["as_inputs", "as_numbers", "describe"]


def as_inputs(inputs: Any) -> Tensor:
    """Return images as (N, C, H, W) uint8, and other inputs as float32 or whole numbers."""
    if isinstance(inputs, Tensor):
        tensor = inputs.detach().cpu()  # wherever they come from, a loader moves them
    else:
        array = _array(inputs)
        if array.dtype == np.uint8:
            return channels_first(array, "images")
        tensor = as_numbers(array)
    if tensor.is_floating_point():
        return _finite(tensor.float())
    image = tensor.dtype == torch.uint8 and tensor.ndim == 4
    if image and tensor.shape[1] <= tensor.shape[3]:
        return tensor
    if tensor.dtype in (torch.int32, torch.int64):
        return tensor
    last = image and tensor.shape[3] in (1, 3, 4)
    raise DataError(
        f"inputs must be uint8 images (N, C, H, W), floats or, for indices, int64; got "
        f"{describe(tensor)}{'; put the channels first: .permute(0, 3, 1, 2)' if last else ''}"
    )


def as_numbers(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array of numbers, in any memory layout and byte order, as a tensor.

    Raises:
        DataError: It holds something else, such as texts.
    """
    if array.dtype.kind not in "iuf":
        raise DataError(f"inputs must be uint8 images or numbers, not {array.dtype}")
    # torch takes neither negative strides, as of a reversed array, nor a foreign byte order.
    return torch.as_tensor(np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _finite(inputs: Tensor) -> Tensor:
    """Return inputs, after checking that all of their values are finite."""
    if inputs.ndim == 0 or bool(inputs.isfinite().all()):
        return inputs
    bad = (~inputs.isfinite().reshape(len(inputs), -1).all(dim=1)).nonzero()[:, 0].tolist()
    raise DataError(
        f"input {bad[0]} holds values that are no finite numbers, as do {len(bad)} of "
        f"{len(inputs)}; leave these out, or put numbers there"
    )


def _array(inputs: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(inputs)
    except ValueError:  # what NumPy says of a ragged list does not name the item
        shapes = [np.shape(one) for one in inputs]
        number = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
        if number is None:
            raise
        raise DataError(
            f"input {number} has the shape {shapes[number]} and input 0 {shapes[0]}; give all "
            f"inputs one shape"
        ) from None


def describe(tensor: Tensor) -> str:
    """Return type and shape of a tensor in words."""
    return f"{tensor.dtype} of shape {'x'.join(str(n) for n in tensor.shape)}"
