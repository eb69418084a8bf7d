"""How the distribution over architectures learns: one file a family of strategies.

A strategy decides which architectures are scored and what follows from the scores:

    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, scores_of(batch))
    strategy.architecture

``ask`` returns the same batch until ``tell`` has answered it, so that a search which was
interrupted between the two continues where it stopped. ``state_dict`` is plain data for JSON and
restores exactly, the random generator included.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ddpnas.architecture import Architecture, DecisionSpace
from ddpnas.distribution import JointDistribution
from ddpnas.errors import OptionError, nearest
from ddpnas.strategies.ddpnas import DDPNAS
from ddpnas.strategies.evolution import RegularizedEvolution
from ddpnas.strategies.local import LocalSearch
from ddpnas.strategies.mdenas import MdeNAS
from ddpnas.strategies.natural import ASNG, MIGO, SNG
from ddpnas.strategies.optuna import OptunaStrategy
from ddpnas.strategies.random import RandomSearch
from ddpnas.strategies.reinforce import Reinforce

__all__ = ["DDPNAS", "Strategy", "create_strategy", "list_strategies", "strategy_options"]


class Strategy(Protocol):
    """What a search needs of a strategy."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask."""

    @property
    def stage(self) -> int:
        """How many times the distribution was pruned (0 throughout where none is)."""

    @property
    def evaluations(self) -> int:
        """How many architectures the whole strategy asks for, from start to end.

        Where fair cycles meet rules of the space, the best estimate so far.
        """

    @property
    def distribution(self) -> JointDistribution:
        """What was learned so far."""

    @property
    def architecture(self) -> Architecture:
        """The architecture recommended so far."""

    def ask(self) -> list[Architecture]:
        """Return the architectures to score together; the same until they are told."""

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """Learn the scores (higher is better) of the batch that was asked."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""


_STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "asng": ASNG,
    "ddpnas": DDPNAS,
    "local-search": LocalSearch,
    "mdenas": MdeNAS,
    "migo": MIGO,
    "optuna": OptunaStrategy,
    "random": RandomSearch,
    "regularized-evolution": RegularizedEvolution,
    "reinforce": Reinforce,
    "sng": SNG,
}


def list_strategies() -> list[str]:
    """Return the names that :func:`create_strategy` takes."""
    return sorted(_STRATEGIES)


def create_strategy(name: str, space: DecisionSpace, seed: int = 0, **options: Any) -> Strategy:
    """Return the strategy of that name over the space.

    Raises:
        OptionError: unknown name or option, or an option out of range.
    """
    known = strategy_options(name)
    for option in options:
        if option not in known:
            raise OptionError(nearest(f"option of strategy {name!r}", option, known))
    return _STRATEGIES[name](space, seed=seed, **options)


def strategy_options(name: str) -> dict[str, Any]:
    """Return the options of a strategy with their defaults.

    Raises:
        OptionError: an unknown name.
    """
    if name not in _STRATEGIES:
        raise OptionError(nearest("strategy", name, _STRATEGIES))
    parameters = inspect.signature(_STRATEGIES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("space", "seed")}
