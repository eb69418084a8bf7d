"""Where a network computes: the device, its memory layout and precision."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import torch
from torch import nn

from ddpnas.errors import OptionError

__all__ = ["autocast", "pick_device", "place"]


_Model = TypeVar("_Model", bound=nn.Module)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is the first accelerator, or else the CPU.

    Raises:
        OptionError: no such device here.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OptionError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def place(model: _Model, device: torch.device) -> _Model:
    """Return the model on the device, the weights of 2-D convolutions channels-last (faster)."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context of a forward pass in a precision: "no" is float32, or "bf16"."""
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
