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
from typing import Any, Literal, Protocol

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.user_code import names_file
from ddpnas.strategies.choice_effects import ChoiceEffect, choice_effects
from ddpnas.strategies.ddpnas_paper import DDPNAS
from ddpnas.strategies.elimination_bound import elimination_bound
from ddpnas.strategies.evolution import RegularizedEvolution
from ddpnas.strategies.local_search import LocalSearch
from ddpnas.strategies.mdenas import MdeNAS
from ddpnas.strategies.natural import ASNG, MIGO, SNG
from ddpnas.strategies.optuna_sampler import OptunaStrategy
from ddpnas.strategies.random_search import RandomSearch
from ddpnas.strategies.reinforce import Reinforce
from ddpnas.utils.options import check_seed, typed

__all__ = [
    "DDPNAS",
    "ChoiceEffect",
    "Strategy",
    "choice_effects",
    "create_strategy",
    "elimination_bound",
    "list_strategies",
    "strategy_classes",
    "strategy_options",
]


class Strategy(Protocol):
    """What a search needs of a strategy.

    One of your own is a class with these members, or derives from
    :class:`ddpnas.strategies.base.Base`, which has them. :func:`ddpnas.search` makes it as
    ``strategy(space, seed=seed, **strategy_options)``, and
    :class:`ddpnas.testing.StrategyContract` tests it.
    """

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


def _ddpnas(
    space: DecisionSpace,
    seed: int = 0,
    *,
    rule: Literal["model", "paper", "momentum", "decay"] = "model",
    evaluations: int | None = None,
    cycles_per_stage: int | None = None,
    max_risk: float | None = None,
    patience: int | None = None,
    explore: float | None = None,
    keep: int | None = None,
    keep_rule: Literal["any", "conv"] | None = None,
    temperature: float | None = None,
    momentum: float | None = None,
    decay: float | None = None,
) -> Strategy:
    """Return DDPNAS: with fitted effects by default, exactly the published one by ``rule``.

    None leaves an option at the default of the class that the rule selects.
    """
    model = {
        "evaluations": evaluations,
        "max_risk": max_risk,
        "patience": patience,
        "explore": explore,
    }
    published = {
        "keep_rule": keep_rule,
        "temperature": temperature,
        "momentum": momentum,
        "decay": decay,
    }
    mine, others = (model, published) if rule == "model" else (published, model)
    if misfits := [name for name, value in others.items() if value is not None]:
        raise OptionError(
            f"rule {rule!r} has no option {misfits[0]!r}; it has: {', '.join(sorted(mine))}"
        )
    given: dict[str, Any] = {name: value for name, value in mine.items() if value is not None}
    for name, value in (("cycles_per_stage", cycles_per_stage), ("keep", keep)):
        if value is not None:
            given[name] = value
    if rule == "model":
        from ddpnas.strategies.ddpnas import ModelDDPNAS  # brings SciPy's linear algebra

        return ModelDDPNAS(space, seed, **given)
    return DDPNAS(space, seed, rule=rule, **given)


_STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "asng": ASNG,
    "ddpnas": _ddpnas,
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

    Args:
        name: one of :func:`list_strategies`.
        space: decisions to search over.
        seed: of the strategy's own random generator.
        options: of the strategy; ``ddpnas strategies NAME`` lists them.

    Raises:
        OptionError: unknown name or option, or an option of another type or out of range.
    """
    known = strategy_options(name)
    parameters = inspect.signature(_STRATEGIES[name]).parameters
    given = {}
    for option, value in options.items():
        if option not in known:
            raise OptionError(nearest(f"option of strategy {name!r}", option, known))
        what = f"{option} of strategy {name!r}"
        given[option] = typed(what, str(parameters[option].annotation), value)
    check_seed(seed)
    return _STRATEGIES[name](space, seed=seed, **given)


def strategy_classes(name: str) -> tuple[type, ...]:
    """Return what a strategy of that name may be: "ddpnas" is one of two classes, by its rule.

    Raises:
        OptionError: an unknown name.
    """
    if name not in _STRATEGIES:
        raise _unknown(name)
    if name == "ddpnas":
        from ddpnas.strategies.ddpnas import ModelDDPNAS

        return ModelDDPNAS, DDPNAS
    made = _STRATEGIES[name]
    assert isinstance(made, type)
    return (made,)


def strategy_options(name: str) -> dict[str, Any]:
    """Return the options of a strategy with their defaults.

    Raises:
        OptionError: an unknown name.
    """
    if name not in _STRATEGIES:
        raise _unknown(name)
    parameters = inspect.signature(_STRATEGIES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("space", "seed")}


def _unknown(name: str) -> OptionError:
    says = nearest("strategy", name, _STRATEGIES)
    if names_file(name):
        says += "; one of your own is named in a search or a benchmark, or made by its class"
    return OptionError(says)
