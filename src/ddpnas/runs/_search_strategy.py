"""The strategy of a search: the one that was named, or the one that a user's class makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ddpnas.errors import OptionError
from ddpnas.runs._search_evaluator import made_by_user, refuse_own
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.user_strategy import NamedStrategy

__all__ = ["create_search_strategy", "make_strategy"]


def create_search_strategy(
    strategy: str | Callable[..., Strategy],
    space: SearchSpace,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[str, UserCode | None, Strategy]:
    """Return the name of a strategy, the user's code that defines it if any, and the strategy.

    Args:
        strategy: A name or a class, see :func:`ddpnas.search`.
        space: The searched space.
        seed: Seed of the search.
        options: Options of the strategy.

    Raises:
        OptionError: It cannot be made with these options, or cannot search.
    """
    if isinstance(strategy, str):
        named = NamedStrategy.read(strategy)
        named.rehearse(space, seed, **options)
        return named.name, named.source, named.create(space, seed, **options)
    made = make_strategy(strategy, space, seed, options)
    kind = getattr(strategy, "__qualname__", type(strategy).__qualname__)
    return f"{strategy.__module__}.{kind}", None, made


def make_strategy(
    strategy: str | Callable[..., Strategy],
    space: SearchSpace,
    seed: int,
    options: Mapping[str, Any],
) -> Strategy:
    """Return the strategy alone, without the rehearsal of one in a user's file.

    Args:
        strategy: A name or a class, see :func:`ddpnas.search`.
        space: The searched space.
        seed: Seed of the search.
        options: Options of the strategy.

    Raises:
        OptionError: It cannot be made with these options.
    """
    if isinstance(strategy, str):
        return NamedStrategy.read(strategy).create(space, seed, **options)
    if not callable(strategy):
        raise OptionError(
            f"strategy must be a name or a class, not an instance of {type(strategy).__name__}: "
            f"pass the class and strategy_options"
        )
    refuse_own("strategy", options, ("space", "seed"))
    made: Strategy = made_by_user("strategy", strategy, Strategy, space, seed=seed, **options)
    return made
