"""Where a network computes: the device, its memory layout and precision."""

from __future__ import annotations

import contextlib
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn

from ddpnas.errors import OptionError

__all__ = ["autocast", "check_precision", "pick_device", "place"]

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


_FEW_CHANNELS = 8


def place(model: _Model, device: torch.device) -> _Model:
    """Move the model to the device and return it.

    Weights of 2-D convolutions become channels-last in memory, which is faster.
    """
    model.to(device)
    spared = [m for m in model.modules() if device.type == "cpu" and _overruns(m)]
    for module in spared:
        if _keep_order not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_keep_order, with_kwargs=True)
    default = {id(module.weight) for module in spared}
    for parameter in model.parameters():
        if parameter.dim() == 4 and id(parameter) not in default:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def _overruns(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether torch's gradient may write beyond its memory.

    On CPUs (torch 2.14) that happens in 1x1 convolutions with a stride and 2 to 6 input channels
    that lie channels-last. A convolution of undecided width may get as few.
    """
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride


def _keep_order(
    module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Give such a convolution its input with channels first, while gradients are computed."""
    given = [*args, *named.values()][0]
    if not torch.is_grad_enabled() or given.shape[-3] >= _FEW_CHANNELS:
        return None
    if args:
        return (given.contiguous(), *args[1:]), named
    return (), {**named, next(iter(named)): given.contiguous()}


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

    Args:
        precision: "no", "bf16" or "fp16".
        device: Where it would run.

    Raises:
        OptionError: The device cannot train in it.
    """
    if precision == "fp16" and device.type == "cpu":
        raise OptionError("fp16 needs an accelerator, and this is the CPU; try bf16")
