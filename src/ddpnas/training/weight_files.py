"""Files of weights that other programs saved: .safetensors and .pth, read without running code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpnas.errors import OptionError
from ddpnas.training.checkpoint import load_weights
from ddpnas.utils.files import expanded
from ddpnas.utils.read import require_regular

__all__ = ["read_weights"]

# Where training programs put the weights in a checkpoint; averaged ones come first, as in timm.
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and torch.compile put these before names


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, by name, on the CPU.

    Args:
        path: A .safetensors file, or one that ``torch.save`` wrote: a state dict, or a checkpoint
            that holds one as "state_dict", "model" or the like.

    Raises:
        OptionError: There is no such file, or it holds no state dict of tensors.
        RunError: A .safetensors file is damaged.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "net.pth")
        >>> torch.save({"state_dict": {"module.weight": torch.ones(2)}}, file)
        >>> read_weights(file)
        {'weight': tensor([1., 1.])}
    """
    path = expanded(path)
    if not path.is_file():
        raise OptionError(f"there is no file of weights {str(path)!r}")
    content: Any = load_weights(path) if path.suffix == ".safetensors" else _unpickled(path)
    while isinstance(content, Mapping) and (inside := _inside(content)) is not None:
        content = inside
    tensors = dict(content) if isinstance(content, Mapping) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise OptionError(
            f"{path} holds no state dict; save one: torch.save(net.state_dict(), ...)"
        )
    tensors = _unwrapped(tensors)
    for name, value in tensors.items():
        if value.is_floating_point() and value.isnan().any():
            raise OptionError(f"{path} holds values in {name!r} that are not numbers")
    return tensors


def _inside(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = (content[key] for key in _INSIDE if isinstance(content.get(key), Mapping))
    return next(found, None)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by their names in the network itself, whatever wraps it, and how often."""
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            return _unwrapped({name.removeprefix(wrapper): t for name, t in tensors.items()})
    return tensors


def _unpickled(path: Path) -> Any:
    require_regular(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        raise OptionError(
            f"{path} holds more than tensors, or is damaged; reading it could run code, so save "
            f"the tensors alone: torch.save(net.state_dict(), ...) ({_unsafe(reason)})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OptionError(f"{path} cannot be read as a file of weights: {reason[:150]}") from None


def _unsafe(reason: str) -> str:
    """Return the part of torch's advice that says what it refused."""
    _, found, rest = reason.partition("WeightsUnpickler error: ")
    return (rest if found else reason)[:120]
