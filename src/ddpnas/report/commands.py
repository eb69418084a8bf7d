"""Command lines of ddpnas, as the report shows them, and which of them a run has."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpnas.evaluators.registry import list_evaluators
from ddpnas.runs.run import Run
from ddpnas.space.user_code import names_file
from ddpnas.spaces.registry import list_spaces
from ddpnas.strategies.registry import list_strategies

__all__ = [
    "command",
    "made_in_python",
    "option_words",
    "said_options",
    "said_path",
    "space_is_named",
    "user_code_words",
]


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


def said_options(options: Any) -> Any:
    """Return options as a page for others shows them: full paths by their last part.

    Example:
        >>> said_options({"teacher": "/home/me/nets/big.py:network", "epochs": 3})
        {'teacher': 'big.py:network', 'epochs': 3}
    """
    if isinstance(options, Mapping):
        return {name: said_options(value) for name, value in options.items()}
    if isinstance(options, (list, tuple)):
        return [said_options(value) for value in options]
    return (
        said_path(options) if isinstance(options, str) and Path(options).is_absolute() else options
    )


def space_is_named(name: str) -> bool:
    """Return whether a command can name a space: a published one, or one in a file.

    Example:
        >>> space_is_named("toy"), space_is_named("mine.py:network"), space_is_named("network")
        (True, True, False)
    """
    return names_file(name) or name in list_spaces()


def made_in_python(run: Run) -> list[str]:
    """Return which parts of a search were objects of a Python program, which no command names."""
    config = run.config
    named = {
        "space": space_is_named(config.space),
        "data": config.data is not None,
        "strategy": names_file(config.strategy) or config.strategy in list_strategies(),
        "evaluator": config.evaluator in list_evaluators(),
    }
    return [part for part, is_named in named.items() if not is_named]


def user_code_words(option: str, name: str) -> list[str]:
    """Return the option that names a user's file; nothing for what the package provides.

    Example:
        >>> user_code_words("space", "mine.py:network"), user_code_words("space", "toy")
        (['--space', 'mine.py:network'], [])
    """
    return [f"--{option}", name] if names_file(name) else []
