"""Command lines of ddpnas, as the report shows them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpnas.space.user_code import names_file

__all__ = ["command", "option_words", "said_path", "user_code_words"]


def command(*words: str) -> str:
    """Return a command line, quoted for a shell.

    Example:
        >>> command("report", "my run")
        "ddpnas report 'my run'"
    """
    return shlex.join(["ddpnas", *words])


def option_words(prefix: str, options: Mapping[str, Any]) -> list[str]:
    """Return options that are given one by one.

    Example:
        >>> option_words("--recipe-options", {"lr": 0.1, "mixup_alpha": None})
        ['--recipe-options.lr', '0.1', '--recipe-options.mixup-alpha', 'null']
    """
    words = []
    for name, value in options.items():
        words += [f"{prefix}.{name.replace('_', '-')}", _value(value)]
    return words


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)


def said_path(path: str | Path) -> str:
    """Return a path as a page for others shows it: a full path by its last part.

    >>> said_path("/home/me/runs/a"), said_path("runs/a")
    ('a', 'runs/a')
    """
    path = Path(path)
    return path.name if path.is_absolute() else str(path)


def user_code_words(option: str, name: str) -> list[str]:
    """Return the option that names a user's file; nothing for what the package provides.

    Example:
        >>> user_code_words("space", "mine.py:network"), user_code_words("space", "toy")
        (['--space', 'mine.py:network'], [])
    """
    return [f"--{option}", name] if names_file(name) else []
