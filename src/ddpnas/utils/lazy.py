"""Names of a package that are imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str], rooms: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that imports its names on first use.

    A room that mixes files with and without torch exports its names this way, so that importing
    one of its torch-free files loads no torch.

    Args:
        package: Name of the package, its ``__name__``.
        homes: Module of each public name, such as ``{"Rule": "ddpnas.space.decisions"}``.
        rooms: Names of subpackages that are imported when they are first read as attributes.

    Example:
        >>> getattr_, dir_ = lazy_names("ddpnas", {"Rule": "ddpnas.space.decisions"})
        >>> getattr_("Rule").__name__
        'Rule'
    """

    def load(name: str) -> Any:
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *rooms})

    return load, names
