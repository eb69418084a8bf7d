"""Where a network computes: the device, its memory layout and precision."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import torch
from torch import nn

from ddpnas.errors import OptionError, nearest

__all__ = ["PRECISIONS", "autocast", "check_precision", "pick_device", "place"]

PRECISIONS = ("no", "bf16", "fp16")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_Model = TypeVar("_Model", bound=nn.Module)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name.

    Args:
        name: "auto" is the first accelerator, or the CPU where there is none.

    Raises:
        OptionError: This machine has no such device.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # devices such as "meta" hold no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OptionError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def place(model: _Model, device: torch.device) -> _Model:
    """Move the model to the device and return it.

    Weights of 2-D convolutions become channels-last in memory, which is faster.
    """
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context for a forward pass in a precision.

    Args:
        device: Device of the inputs.
        precision: "no" (float32), "bf16" or "fp16".

    Example:
        >>> with autocast(torch.device("cpu"), "bf16"):
        ...     nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
        torch.bfloat16
    """
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, _DTYPES[precision])


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a training can run in the precision.

    Raises:
        OptionError: The name is unknown, or the device cannot train in it.
    """
    if precision not in PRECISIONS:
        raise OptionError(nearest("mixed precision", precision, PRECISIONS))
    if precision == "fp16" and device.type == "cpu":
        raise OptionError("fp16 needs an accelerator, and this is the CPU; try bf16")
