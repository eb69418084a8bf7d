"""Command lines of ddpnas, as the report shows them."""

from __future__ import annotations

import shlex
from pathlib import Path

from ddpnas.space.user_code import names_file

__all__ = ["command", "said_path", "user_code_words"]


def command(*words: str) -> str:
    """Return a command line, quoted for a shell.

    Example:
        >>> command("report", "my run")
        "ddpnas report 'my run'"
    """
    return shlex.join(["ddpnas", *words])


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
