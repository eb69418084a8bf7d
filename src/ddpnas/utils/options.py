"""Which settings changed since a run or a training began."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ddpnas.errors import RunError

__all__ = ["differences", "refuse_differences"]

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
