"""Options of a search space: the arguments of the function that makes its networks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ddpnas.errors import OptionError, SpaceError
from ddpnas.utils.settings import Count, checked_options
from ddpnas.utils.shapes import hints_of, shown

__all__ = ["as_plain", "declared_options", "network_options"]

# What the constructor of a space takes itself, so that no option of a network can have the name.
_OWN = {"self", "network", "name", "input_dtype", "rules", "text", "canonical", "final_options"}


def network_options(
    network: Callable[..., nn.Module], name: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options of a space with the types that its network declares.

    Args:
        network: The function that asks for the decisions.
        name: Name of the space, for messages.
        options: Options by name; ``input_shape`` is one of every space.

    Raises:
        OptionError: The network does not take an option, or a value does not fit its annotation.
    """
    known = declared_options(network)
    hints = hints_of(network if inspect.isroutine(network) else type(network).__call__)
    declared: dict[str, Any] = {**dict.fromkeys(known, Any), "input_shape": Sequence[Count]}
    declared |= {option: hint for option, hint in hints.items() if option in known}
    if taken := sorted(_OWN & set(known) & set(options)):
        raise OptionError(
            f"option {taken[0]!r} of space {name!r} has a name that ddpnas uses itself; rename "
            f"that argument of the network"
        )
    return checked_options(f"space {name!r}", declared, options)


def declared_options(network: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return the parameters after ``choose`` with their defaults.

    Raises:
        SpaceError: The network is not a function.
    """
    try:
        parameters = list(inspect.signature(network).parameters.values())[1:]
    except (TypeError, ValueError):
        raise SpaceError(
            f"the network of a space must be a function of choose, not {shown(network)}"
        ) from None
    return {
        p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def as_plain(value: Any) -> Any:
    """Return an option as plain data for JSON and YAML; other objects by their ``repr``.

    Example:
        >>> as_plain((8, nn.ReLU)), as_plain(nn.functional.relu)
        ([8, "<class 'torch.nn.modules.activation.ReLU'>"], '<function relu>')
    """
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return re.sub(" at 0x[0-9a-f]+", "", repr(value), flags=re.IGNORECASE)  # new in each process
