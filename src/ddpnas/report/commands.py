"""Command lines of ddpnas, as the report shows them."""

from __future__ import annotations

import shlex

from ddpnas.space.user_code import names_file

__all__ = ["command", "user_code_words"]


def command(*words: str) -> str:
    """Return a command line, quoted for a shell.

    Example:
        >>> command("report", "my run")
        "ddpnas report 'my run'"
    """
    return shlex.join(["ddpnas", *words])


def user_code_words(option: str, name: str) -> list[str]:
    """Return the option that names a user's file; nothing for what the package provides.

    Example:
        >>> user_code_words("space", "mine.py:network"), user_code_words("space", "toy")
        (['--space', 'mine.py:network'], [])
    """
    return [f"--{option}", name] if names_file(name) else []
