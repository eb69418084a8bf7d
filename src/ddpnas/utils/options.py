"""Values that a user gives one by one, checked against what they are to be."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from ddpnas.errors import OptionError

__all__ = ["check_seed", "typed"]

_MOST_SEED = 2**32 - 1  # seeds of parts are sums and products of it, and all libraries take those


def typed(what: str, annotation: str, value: Any) -> Any:
    """Return the value as what its annotation says; 1 for 1.0, and 3e-4, which YAML takes for text.

    Args:
        what: has the value, for the message.
        annotation: "int", "float", "bool", "str", a ``Literal`` of texts, or a mapping; None is
            taken where it ends in "None".
        value: as it was given.

    Raises:
        OptionError: the value is of another type, or no finite number.
    """
    if value is None and annotation.endswith("None"):
        return None
    kind = "str" if annotation.startswith("Literal") else annotation.split(" ")[0]
    if kind == "int" and not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    if kind == "float" and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    expected = {"int": int, "float": float, "bool": bool, "str": str}.get(kind, dict)
    if expected in (int, float) or type(value) is not expected:
        raise OptionError(f"{what} is of type {expected.__name__}, not {value!r}")
    return value


def check_seed(seed: int) -> None:
    """Raise :class:`OptionError` for what cannot seed random numbers."""
    if not 0 <= seed <= _MOST_SEED:
        raise OptionError(f"a seed is from 0 to {_MOST_SEED:,}, not {seed}")
