"""Contender: a strategy that takes part in a comparison, of the package or from a user's file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ddpnas.architecture import DecisionSpace
from ddpnas.errors import OptionError, nearest
from ddpnas.own_file import execute, names_file, read_file
from ddpnas.source import Source
from ddpnas.strategies import Strategy, create_strategy, strategy_options

__all__ = ["Contender"]

_MEMBERS = ("architecture", "ask", "done", "tell")  # that a comparison needs


@dataclass(frozen=True)
class Contender:
    """A strategy with its options, as it is named in results.

    Attributes:
        label: as it was named, options included.
        strategy: a name that :func:`ddpnas.create_strategy` takes, or that of a class in a file.
        options: of the strategy.
        source: the file; every process executes it as it was read once.
    """

    label: str
    strategy: str
    options: Mapping[str, Any]
    source: Source | None = None

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Return the strategy in ``sng:pruning=true:delta=0.5``, or ``mine.py:MyStrategy:beta=2``.

        Raises:
            OptionError: what follows a name is no option, or there is no such file.
        """
        name, *pairs = text.strip().split(":")
        source = None
        if names_file(name):
            if pairs and "=" not in pairs[0]:
                name = f"{name}:{pairs.pop(0)}"
            source = read_file(name, "strategy", OptionError)
        options = {}
        for pair in pairs:
            option, equals, value = pair.partition("=")
            if not equals:
                raise OptionError(f"{pair!r} is no option; write {name}:option=value")
            options[option.replace("-", "_")] = yaml.safe_load(value)
        return cls(text.strip(), name, options, source)

    def known_options(self) -> dict[str, Any]:
        """Return the options that the strategy takes, with their defaults.

        Raises:
            OptionError: no such strategy, or its file fails.
        """
        if self.source is None:
            return strategy_options(self.strategy)
        parameters = inspect.signature(self._own_class).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in ("space", "seed")}

    def create(self, space: DecisionSpace, seed: int = 0, **options: Any) -> Strategy:
        """Return the strategy over the space.

        Args:
            space: the table's.
            seed: of its randomness.
            options: in the place of the contender's own.

        Raises:
            OptionError: unknown strategy or option, or an option out of range.
        """
        if self.source is None:
            return create_strategy(self.strategy, space, seed=seed, **options)
        known = self.known_options()
        for option in options:
            if option not in known:
                raise OptionError(nearest(f"option of strategy {self.strategy!r}", option, known))
        strategy: Strategy = self._own_class(space, seed=seed, **options)
        return strategy

    @property
    def _own_class(self) -> type:
        source = self.source
        assert source is not None, "a strategy of the package is not in a file"
        imported = tuple(source.imported.items())
        return _class_in(source.path, source.attribute, source.content, imported)


@functools.cache
def _class_in(
    path: Path, attribute: str, content: bytes, imported: tuple[tuple[str, bytes], ...]
) -> type:
    """Return the class that a file defines, which is executed once a process."""
    module = execute(Source(path, attribute, content, dict(imported)), OptionError)
    there = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and all(hasattr(value, member) for member in _MEMBERS)
    }
    if attribute not in there:
        own = [name for name, value in there.items() if value.__module__ == module.__name__]
        raise OptionError(f"in {path}: " + nearest("strategy", attribute, own))
    return there[attribute]
