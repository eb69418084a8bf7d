"""refuse_differences(): what began and what would go on, compared option by option."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ddpnas.errors import RunError

__all__ = ["refuse_differences"]

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
    """Raise :class:`RunError` when something would go on with other settings than it began with.

    Args:
        what: would go on, "run" or "training".
        before: its settings, as they were kept; some may hold further ones by name.
        now: the settings of this call. What only ``before`` has is not compared.
        defaults: of settings that one of the two lacks, such as those that a version before did
            not have.
        left_out: settings that may differ, as in "data.name".
        instead: what to do, the end of the sentence.
    """
    base, past, present = (_flat(json.loads(json.dumps(each))) for each in (defaults, before, now))
    old, new = {**base, **past}, {**base, **present}
    differing = [
        f"{name} was {_said(old, name)} and is {_said(new, name)}"
        for name in {**new, **old}
        if name.split(".")[0] in now
        and name not in left_out
        and old.get(name, _NOT_GIVEN) != new.get(name, _NOT_GIVEN)
    ]
    if differing:
        more = len(differing) - _MOST
        rest = f" (and {more} more differences)" if more > 0 else ""
        raise RunError(
            f"the {what} cannot go on with something else than it began with: "
            f"{'; '.join(differing[:_MOST])}{rest}; {instead}"
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return settings within settings by names such as "supernet.lr"."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list) and value and isinstance(value[0], list):
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
