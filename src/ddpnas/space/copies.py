"""copied(): a copy of a user's network, or a sentence on why there can be none."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ddpnas.errors import SpaceError

__all__ = ["advice_on_weights", "copied", "copying"]

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """Return a deep copy of a network.

    Args:
        network: The network.

    Raises:
        SpaceError: It cannot be copied, as it holds a weight that is computed from others, or an
            open file; the message says what to do.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> copied(layer) is layer
        False
    """
    with copying(network):
        return copy.deepcopy(network)


@contextlib.contextmanager
def copying(network: nn.Module) -> Iterator[None]:
    """Turn an error of copying a network inside into a sentence.

    Args:
        network: The network.

    Raises:
        SpaceError: See :func:`copied`.
    """
    try:
        yield
    except (RuntimeError, TypeError) as error:
        if isinstance(error, RuntimeError) and "deepcopy" not in str(error):
            raise  # for want of memory, say
        reason = f"copy.deepcopy refuses it: {' '.join(str(error).split())[:100]}"
        why = advice_on_weights(network) or reason
        raise SpaceError(f"{type(network).__name__} cannot be copied; {why}") from error


def advice_on_weights(network: nn.Module) -> str:
    """Return what to do about weights that a network computes from others; empty without any.

    Args:
        network: The network.

    Example:
        >>> advice_on_weights(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))))
        "layer 0 computes its weight, so make it plain first: torch.nn.utils.parametrize.remove_..."
    """
    for path, module in network.named_modules():
        if parametrize.is_parametrized(module):
            name = next(iter(module.parametrizations))
            how = f"parametrize.remove_parametrizations(layer, {name!r})"
        elif names := [n for n, value in vars(module).items() if isinstance(value, Tensor)]:
            [name, *_] = names
            if f"{name}_g" in module._parameters:
                how = f"remove_weight_norm(layer, {name!r})"
            elif f"{name}_u" in module._buffers:
                how = f"remove_spectral_norm(layer, {name!r})"
            elif f"{name}_mask" in module._buffers:
                how = f"prune.remove(layer, {name!r})"
            else:
                continue
        else:
            continue
        return f"layer {path} computes its {name}, so make it plain first: torch.nn.utils.{how}"
    return ""
