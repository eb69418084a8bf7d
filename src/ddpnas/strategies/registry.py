"""The strategies by name, and their options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.user_code import names_file
from ddpnas.strategies.base import BaseStrategy, Strategy
from ddpnas.strategies.darts import DARTS
from ddpnas.strategies.ddpnas import DDPNAS
from ddpnas.strategies.ddpnas_paper import DDPNASPaper
from ddpnas.strategies.drnas import DrNAS
from ddpnas.strategies.dropnas import DropNAS
from ddpnas.strategies.evolution import RegularizedEvolution
from ddpnas.strategies.forest import Forest
from ddpnas.strategies.genetic import Genetic
from ddpnas.strategies.gumbel import GDAS, SNAS
from ddpnas.strategies.halving import Halving
from ddpnas.strategies.local_search import LocalSearch
from ddpnas.strategies.mdenas import MdeNAS
from ddpnas.strategies.natural import ASNG, MIGO, SNG
from ddpnas.strategies.optuna_sampler import OptunaStrategy
from ddpnas.strategies.pcdarts import PCDARTS
from ddpnas.strategies.pdarts import PDARTS
from ddpnas.strategies.proxyless import Proxyless
from ddpnas.strategies.random_search import RandomSearch
from ddpnas.strategies.reinforce import Reinforce
from ddpnas.utils.settings import Seed, checked, checked_options, checks_arguments
from ddpnas.utils.shapes import hints_of

__all__ = [
    "checked_strategy_options",
    "constructor_options",
    "create_strategy",
    "list_strategies",
    "strategy_class",
    "strategy_options",
]

_STRATEGIES: dict[str, type[BaseStrategy]] = {
    "asng": ASNG,
    "darts": DARTS,
    "ddpnas": DDPNAS,
    "ddpnas-paper": DDPNASPaper,
    "drnas": DrNAS,
    "dropnas": DropNAS,
    "forest": Forest,
    "gdas": GDAS,
    "genetic": Genetic,
    "halving": Halving,
    "local-search": LocalSearch,
    "mdenas": MdeNAS,
    "migo": MIGO,
    "optuna": OptunaStrategy,
    "pcdarts": PCDARTS,
    "pdarts": PDARTS,
    "proxyless": Proxyless,
    "random": RandomSearch,
    "regularized-evolution": RegularizedEvolution,
    "reinforce": Reinforce,
    "snas": SNAS,
    "sng": SNG,
}


def list_strategies() -> list[str]:
    """Return the names that :func:`create_strategy` takes.

    Example:
        >>> list_strategies()[:3]
        ['asng', 'darts', 'ddpnas']
    """
    return sorted(_STRATEGIES)


@checks_arguments
def create_strategy(name: str, space: DecisionSpace, /, seed: Seed = 0, **options: Any) -> Strategy:
    """Return the strategy of that name over the space.

    Args:
        name: One of :func:`list_strategies`.
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        options: Options of the strategy; ``ddpnas strategies NAME`` lists them.

    Raises:
        OptionError: The name or an option is unknown, of another type or out of range.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision("kernel", ("3", "5"))])
        >>> strategy = create_strategy("random", space, evaluations=2)
        >>> [architecture["kernel"] in "35" for architecture in strategy.ask()]
        [True]
    """
    checked("name of create_strategy()", str, name)
    checked("space of create_strategy()", DecisionSpace, space)
    made: Any = strategy_class(name)
    given = checked_strategy_options(name, made, options)
    strategy: Strategy = made(space, seed=checked("seed", Seed, seed), **given)
    return strategy


def checked_strategy_options(name: str, made: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a strategy with the types that its constructor declares.

    Args:
        name: Its name, for messages.
        made: Its class.
        options: Options by name.

    Raises:
        OptionError: An option is unknown, of another type or out of range.

    Example:
        >>> checked_strategy_options("random", strategy_class("random"), {"batch": 2})
        {'batch': 2}
    """
    if own := sorted({"space", "seed"} & set(options)):
        raise OptionError(
            f"{own[0]} is not an option of strategy {name!r}: the search sets its {own[0]} "
            f"(--{own[0]})"
        )
    known = {option: p.annotation for option, p in constructor_options(made).items()}
    return checked_options(f"strategy {name!r}", known, options)


def strategy_class(name: str) -> type:
    """Return the class of the strategy of that name.

    Raises:
        OptionError: The name is unknown.

    Example:
        >>> strategy_class("ddpnas").__name__
        'DDPNAS'
    """
    if name not in _STRATEGIES:
        raise _unknown(name)
    return _STRATEGIES[name]


def strategy_options(name: str) -> dict[str, Any]:
    """Return the options of a strategy with their defaults.

    Raises:
        OptionError: The name is unknown.

    Example:
        >>> strategy_options("random")
        {'evaluations': 100, 'batch': 1}
    """
    parameters = constructor_options(strategy_class(name))
    return {option: parameter.default for option, parameter in parameters.items()}


def constructor_options(made: type) -> dict[str, inspect.Parameter]:
    """Return the options of a strategy's class, those of its bases first.

    A constructor with ``**options`` hands them on, so that the options of the base are its own.

    Args:
        made: A class whose constructor takes a space, a seed and options.
    """
    found: dict[str, inspect.Parameter] = {}
    for kind in made.__mro__:
        if "__init__" not in vars(kind):
            continue
        parameters = inspect.signature(kind).parameters.values()
        named = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        hints = hints_of(vars(kind)["__init__"])
        typed = {n: p.replace(annotation=hints.get(n, Any)) for n, p in named.items()}
        found = {**typed, **found}
        if len(named) == len(parameters):
            break
    return {name: p for name, p in found.items() if name not in ("space", "seed")}


def _unknown(name: str) -> OptionError:
    says = nearest("strategy", name, _STRATEGIES)
    if names_file(name):
        says += "; one of your own is named in a search or a benchmark, or made by its class"
    return OptionError(says)
