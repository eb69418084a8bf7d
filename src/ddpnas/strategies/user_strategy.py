"""A strategy as a user names it: one of the package, or ``my_file.py:MyStrategy``."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.user_code import UserCode, as_user_error, names_file
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.registry import (
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
        name: one that :func:`ddpnas.create_strategy` takes, or ``/path/of/file.py:MyStrategy``.
        source: the file; every process executes it as it was read once.
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

    def create(self, space: DecisionSpace, seed: int = 0, **options: Any) -> Strategy:
        """Return the strategy over the space.

        Args:
            space: decisions to search over.
            seed: of its randomness.
            options: of the strategy.

        Raises:
            OptionError: unknown strategy or option, or an option out of range, or what a file has
                is no strategy or fails.
        """
        if self.source is None:
            return create_strategy(self.name, space, seed=seed, **options)
        made, known = self._own_class, self.options()
        further = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(made).parameters.values())
        for option in options:
            if option not in known and not further:
                raise OptionError(nearest(f"option of strategy {self.name!r}", option, known))
        with as_user_error(self.source, OptionError):
            strategy: Strategy = made(space, seed=seed, **options)
        self._require(strategy, _ASKED)
        return strategy

    def rehearse(self, space: DecisionSpace, seed: int = 0, **options: Any) -> None:
        """Raise :class:`OptionError` where a class of a file could not search, or not resume.

        Two that do not search try it: the first is told made-up scores of a batch, the second
        takes its state and has to ask for the same as the first.

        Args:
            space: see :meth:`create`.
            seed: likewise.
            options: likewise.
        """
        if self.source is None:
            return
        first, second = (self.create(space, seed, **options) for _ in range(2))
        self._require(first, _SEARCHED)
        with as_user_error(self.source, OptionError):
            self._score_a_batch(first, space)
            self._hand_over(first, second)

    @property
    def _own_class(self) -> type:
        source = self.source
        assert source is not None, "a strategy of the package is not in a file"
        imported = tuple(source.imported.items())
        made = _class_in(source.path, source.attribute, source.content, imported)
        self._require(made, ("ask", "tell"))
        return made

    def _score_a_batch(self, strategy: Strategy, space: DecisionSpace) -> None:
        batch = _next(strategy)
        if not batch:
            raise OptionError(self._cannot("it asks for no architecture"))
        for architecture in batch:
            space.encode(architecture)
        strategy.tell(batch, [(i + 1) / (len(batch) + 1) for i in range(len(batch))])
        space.encode(strategy.architecture)
        if not isinstance(strategy.distribution, JointDistribution):
            raise OptionError(self._cannot("its distribution is no JointDistribution"))

    def _hand_over(self, first: Strategy, second: Strategy) -> None:
        state = first.state_dict()
        try:
            text = json.dumps([state, first.evaluations, first.stage])  # all that a run keeps
        except (TypeError, ValueError) as reason:
            raise OptionError(
                self._cannot(f"what a run keeps of it is no plain data: {reason}")
            ) from reason
        second.load_state_dict(json.loads(text)[0])
        if _next(first) != _next(second):
            raise OptionError(self._cannot("from its state it does not ask for the same again"))

    def _require(self, strategy: Strategy | type, members: Sequence[str]) -> None:
        if lacking := [member for member in members if not _has(strategy, member)]:
            raise OptionError(self._cannot(f"it has no {', '.join(lacking)}"))

    def _cannot(self, why: str) -> str:
        return (
            f"{self.name} cannot search: {why}; see ddpnas.strategies.Strategy, or derive it from "
            f"ddpnas.strategies.base.BaseStrategy"
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
    """Return whether a member is there, of its own and not the empty one of the protocol."""
    kind = strategy if isinstance(strategy, type) else type(strategy)
    if hasattr(kind, member):
        return getattr(kind, member) is not getattr(Strategy, member)
    return hasattr(strategy, member)


def _next(strategy: Strategy) -> list[Architecture]:
    """Return what a strategy asks for now; nothing where it is done."""
    return [] if strategy.done else list(strategy.ask())
