"""A strategy as a user names it: one of the package, or ``my_file.py:MyStrategy``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.user_code import UserCode, as_user_error, names_file
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.contract import BrokenPromiseError, hand_over, tell_batch
from ddpnas.strategies.registry import (
    checked_strategy_options,
    constructor_options,
    create_strategy,
    strategy_class,
)

__all__ = ["NamedStrategy"]

_ASKED = ("architecture", "ask", "done", "tell")  # what anything needs of a strategy
_SEARCHED = (*_ASKED, "distribution", "evaluations", "load_state_dict", "stage", "state_dict")


@dataclass(frozen=True)
class NamedStrategy:
    """A strategy by its name, which does not have to be one of the package.

    Attributes:
        name: One that :func:`ddpnas.create_strategy` takes, or ``/path/of/file.py:MyStrategy``.
        source: The file; every process executes it as it was read once.
    """

    name: str
    source: UserCode | None = None

    @classmethod
    def read(cls, name: str) -> NamedStrategy:
        """Return the strategy of that name, with its file as it is now.

        Raises:
            OptionError: there is no such file.
        """
        if not names_file(name):
            return cls(name)
        source = UserCode.read(name, "strategy", OptionError)
        return cls(f"{source.path}:{source.attribute}", source)

    def made(self) -> type:
        """Return the strategy's class.

        Raises:
            OptionError: no such strategy, or its file fails.
        """
        return strategy_class(self.name) if self.source is None else self._own_class

    def options(self) -> dict[str, Any]:
        """Return the options that the strategy takes, with their defaults.

        Raises:
            OptionError: no such strategy, or its file fails.
        """
        return {name: p.default for name, p in constructor_options(self.made()).items()}

    def create(self, space: DecisionSpace, seed: int = 0, /, **options: Any) -> Strategy:
        """Return the strategy over the space.

        Args:
            space: Decisions and rules to search over.
            seed: Seed for the strategy's random numbers.
            options: Options of the strategy.

        Raises:
            OptionError: The strategy or an option is unknown, an option is out of range, or the
                class in the file fails or is not a strategy.
        """
        given = self.checked(options)
        if self.source is None:
            return create_strategy(self.name, space, seed=seed, **given)
        with as_user_error(self.source, OptionError):
            strategy: Strategy = self._own_class(space, seed=seed, **given)
        self._require(strategy, _ASKED)
        return strategy

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options with the types that the strategy declares, before there is a space.

        Args:
            options: Options by name. A class of a file may take more than it declares.

        Raises:
            OptionError: The strategy or an option is unknown, of another type or out of range.
        """
        made = self.made()
        more: dict[str, Any] = {}
        parameters = inspect.signature(made).parameters.values()
        if self.source is not None and any(p.kind is p.VAR_KEYWORD for p in parameters):
            known = {*constructor_options(made), "space", "seed"}
            more = {name: value for name, value in options.items() if name not in known}
        declared = {name: value for name, value in options.items() if name not in more}
        return checked_strategy_options(self.name, made, declared) | more

    def rehearse(self, space: DecisionSpace, seed: int = 0, /, **options: Any) -> None:
        """Check that a class of a file can search and resume, before anything is written.

        Two instances try it. The first is told made-up scores of a batch. The second takes its
        state and has to ask for the same as the first.

        Args:
            space: Decisions to search over.
            seed: Seed of its randomness.
            options: Options of the strategy.

        Raises:
            OptionError: It cannot search or resume, and why.
        """
        if self.source is None:
            return
        first, second = (self.create(space, seed, **options) for _ in range(2))
        self._require(first, _SEARCHED)
        try:
            with as_user_error(self.source, OptionError):
                tell_batch(first, space)
                hand_over(first, second)
        except BrokenPromiseError as broken:
            raise OptionError(self._cannot(str(broken))) from broken

    @property
    def _own_class(self) -> type:
        source = self.source
        assert source is not None, "a strategy of the package is not in a file"
        imported = tuple(source.imported.items())
        made = _class_in(source.path, source.attribute, source.content, imported)
        self._require(made, ("ask", "tell"))
        return made

    def _require(self, strategy: Strategy | type, members: Sequence[str]) -> None:
        if lacking := [member for member in members if not _has(strategy, member)]:
            raise OptionError(self._cannot(f"it has no {', '.join(lacking)}"))

    def _cannot(self, why: str) -> str:
        return (
            f"{self.name} cannot search: {why}; see ddpnas.strategies.Strategy, or derive it from "
            f"ddpnas.strategies.BaseStrategy"
        )


@functools.cache
def _class_in(
    path: Path, attribute: str, content: bytes, imported: tuple[tuple[str, bytes], ...]
) -> type:
    """Return the class that a file defines, which is executed once a process."""
    source = UserCode(path, attribute, content, dict(imported))
    module = source.execute(OptionError)
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    if attribute not in classes:
        own = sorted(
            name
            for name, value in classes.items()
            if value.__module__ == module.__name__ and _has(value, "ask") and _has(value, "tell")
        )
        raise OptionError(source.not_there("strategy", own, next(iter(own), "MyStrategy")))
    return classes[attribute]


def _has(strategy: Strategy | type, member: str) -> bool:
    """Return whether a member is there and is not the empty one of the protocol."""
    kind = strategy if isinstance(strategy, type) else type(strategy)
    if hasattr(kind, member):
        return getattr(kind, member) is not getattr(Strategy, member)
    return hasattr(strategy, member)
