"""The strategies by name, and their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.user_code import names_file
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.ddpnas_paper import DDPNAS
from ddpnas.strategies.evolution import RegularizedEvolution
from ddpnas.strategies.local_search import LocalSearch
from ddpnas.strategies.mdenas import MdeNAS
from ddpnas.strategies.natural import ASNG, MIGO, SNG
from ddpnas.strategies.optuna_sampler import OptunaStrategy
from ddpnas.strategies.random_search import RandomSearch
from ddpnas.strategies.reinforce import Reinforce
from ddpnas.utils.options import check_seed, typed

__all__ = ["create_strategy", "list_strategies", "strategy_classes", "strategy_options"]


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
