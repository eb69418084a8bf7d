"""Options: checks of the values that a user gives, and of changes since a run began."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

from ddpnas.errors import OptionError, RunError

__all__ = ["check_argument", "check_seed", "differences", "refuse_differences", "typed"]

_MOST_SEED = 2**32 - 1  # seeds of parts are sums and products of it, and all libraries take those


def typed(what: str, annotation: str, value: Any) -> Any:
    """Return a value as the type that its annotation names.

    A number may be given as another one of equal value, and as the text "3e-4", which YAML does
    not read as a number.

    Args:
        what: Name of the option, for the message.
        annotation: "int", "float", "bool", "str", a ``Literal`` of texts, or a mapping. None is
            allowed if it ends in "None".
        value: Value that was given.

    Raises:
        OptionError: The value has another type, or is not a finite number.

    Example:
        >>> typed("lr", "float", "3e-4"), typed("clip", "float | None", None)
        (0.0003, None)
    """
    if value is None and annotation.endswith("None"):
        return None
    kind = "str" if annotation.startswith("Literal") else annotation.split(" ")[0]
    if value is False and "'no'" in annotation:
        return "no"  # YAML, and so a command line, reads it as false
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
        raise OptionError(f"{what} must be of type {expected.__name__}, not {value!r}")
    return value


def check_argument(call: str, name: str, given: Any, kind: type) -> None:
    """Check an argument of a Python call, which may have been given in another's place.

    Args:
        call: The call, for the message.
        name: Name of the argument.
        given: What was given.
        kind: Class that it must have.

    Raises:
        OptionError: It has another one.

    Example:
        >>> check_argument("search(space, data)", "space", 7, dict)
        Traceback (most recent call last):
        ...
        ddpnas.errors.OptionError: the space in search(space, data) must be a dict, not int
    """
    if not isinstance(given, kind):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise OptionError(f"the {name} in {call} must be a {kind.__name__}, not {what}")


def check_seed(seed: int) -> None:
    """Raise :class:`OptionError` unless a number can seed all generators: 0 to 4,294,967,295."""
    if not 0 <= seed <= _MOST_SEED:
        raise OptionError(f"a seed must be from 0 to {_MOST_SEED:,}, not {seed}")


_MOST = 5  # differences that a sentence names


_NOT_GIVEN = object()


def refuse_differences(
    what: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    left_out: Collection[str] = (),
    instead: str,
) -> None:
    """Raise :class:`RunError` if something would continue with other settings than it began with.

    Args:
        what: What would continue, "run" or "training".
        before: Its settings, as they were kept.
        now: The settings of this call. What only ``before`` has is not compared.
        defaults: Settings that one of the two may lack, such as those of a newer version.
        left_out: Settings that may differ, as in "data.name".
        instead: What to do, the end of the sentence.
    """
    if found := differences(before, now, defaults=defaults, left_out=left_out):
        raise RunError(
            f"the {what} cannot go on with something else than it began with: {found}; {instead}"
        )


def differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    left_out: Collection[str] = (),
) -> str:
    """Return in words which settings differ; empty if none does.

    Args:
        before: Settings, by name; some may hold further ones by name.
        now: The other settings. What only ``before`` has is not compared.
        defaults: Settings that one of the two may lack.
        left_out: Settings that may differ, as in "data.name".

    Example:
        >>> differences({"seed": 0, "data": {"size": 8}}, {"seed": 3, "data": {"size": 9}})
        'seed was 0 and is 3; data.size was 8 and is 9'
    """
    each = (defaults or {}, before, now)
    base, past, present = (_flat(json.loads(json.dumps(settings))) for settings in each)
    old, new = {**base, **past}, {**base, **present}
    differing = [
        f"{name} was {_said(old, name)} and is {_said(new, name)}"
        for name in {**new, **old}
        if name.split(".")[0] in now
        and name not in left_out
        and old.get(name, _NOT_GIVEN) != new.get(name, _NOT_GIVEN)
    ]
    more = len(differing) - _MOST
    rest = f" (and {more} more differences)" if more > 0 else ""
    return "; ".join(differing[:_MOST]) + rest


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return settings within settings by names such as "evaluator_options.lr"."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list) and value and isinstance(value[0], (list, Mapping)):
        items = list(enumerate(value))
    else:
        return {name: value}
    return {
        inner: setting
        for key, item in items
        for inner, setting in _flat(item, f"{name}.{key}" if name else str(key)).items()
    }


def _said(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name]) if name in settings else "not given"
