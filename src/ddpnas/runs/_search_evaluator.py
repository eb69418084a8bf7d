"""The evaluator of a search: the one that was named, as the strategy needs it.

Gradient-based strategies train a mixture of all options. Their scores also come from weights that
all architectures share, so the evaluator is still named ``supernet``; it only trains in another way
and takes other options.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError
from ddpnas.evaluators.base import Evaluator
from ddpnas.evaluators.registry import (
    create_evaluator,
    evaluator_class,
    evaluator_config,
    evaluator_options,
)
from ddpnas.relaxed.evaluator import MixtureConfig, MixtureEvaluator
from ddpnas.space.search_space import SearchSpace
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.utils.settings import checked_options
from ddpnas.utils.shapes import hints_of, shown

__all__ = [
    "create_named_evaluator",
    "create_search_evaluator",
    "made_by_user",
    "refuse_own",
    "search_evaluator_config",
]


def search_evaluator_config(name: str, strategy: object, options: Mapping[str, Any]) -> Any:
    """Return the dataclass of a named evaluator's options, as the strategy needs it.

    Args:
        name: A name in :func:`ddpnas.evaluators.list_evaluators`.
        strategy: The strategy, its class, or None for one that needs no mixture.
        options: The options that are not to be the default.

    Raises:
        OptionError: The name or an option is unknown, an option is out of range, or the evaluator
            cannot train the mixture that the strategy needs.

    Example:
        >>> search_evaluator_config("supernet", GradientStrategy, {}).eval_batch_size
        500
    """
    kind = strategy if isinstance(strategy, type) else type(strategy)
    if not issubclass(kind, GradientStrategy):
        return evaluator_config(name, options)
    evaluator_class(name)  # refuses an unknown name
    if name != "supernet":
        raise OptionError(
            f"{kind.__name__} trains a mixture of all options, so it cannot search with the "
            f"evaluator {name}; use --evaluator supernet, the default"
        )
    declared = hints_of(MixtureConfig)
    for option in options:
        if option not in declared and option in evaluator_options(name):
            raise OptionError(
                f"{option} cannot be set for the evaluator here: {kind.__name__} says how to "
                f"train, by --strategy-options (`ddpnas strategies`); --evaluator-options takes "
                f"{' and '.join(declared)}"
            )
    return MixtureConfig(
        **checked_options(f"the evaluator with {kind.__name__}", declared, options)
    )


def create_named_evaluator(
    name: str,
    space: SearchSpace,
    data: Data,
    strategy: Strategy | None,
    config: Any,
    *,
    evaluations: int,
    seed: int,
    device: str = "auto",
    processes: Processes = ALONE,
    sieve: SieveConfig | None = None,
) -> Evaluator:
    """Return the evaluator of that name.

    Args:
        name: A name in :func:`ddpnas.evaluators.list_evaluators`.
        space: The searched space.
        data: Its training split trains, its validation split scores.
        strategy: The strategy that asks for the scores; None for one that needs no mixture.
        config: What :func:`search_evaluator_config` returned.
        evaluations: Number of architectures that will be scored in all.
        seed: Seed for initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...
        processes: The processes that search together.
        sieve: Which images are read; None is all.
    """
    if isinstance(strategy, GradientStrategy):
        return MixtureEvaluator(
            space,
            data,
            strategy,
            config,
            seed=seed,
            device=device,
            processes=processes,
            sieve=sieve,
        )
    return create_evaluator(
        name,
        space,
        data,
        evaluations=evaluations,
        seed=seed,
        device=device,
        processes=processes,
        sieve=sieve,
        **dataclasses.asdict(config),
    )


def create_search_evaluator(
    evaluator: str | Evaluator | Callable[..., Evaluator],
    options: dict[str, Any],
    space: SearchSpace,
    data: Data,
    strategy: Strategy,
    *,
    seed: int,
    device: str,
    processes: Processes,
    sieve: SieveConfig,
) -> tuple[str, dict[str, Any], Evaluator]:
    """Return the name of an evaluator, its resolved options, and the evaluator.

    Args:
        evaluator: A name, a class or an object, see :func:`ddpnas.search`.
        options: The options that are not to be the default.
        space: The searched space.
        data: The data.
        strategy: The strategy that asks for the scores.
        seed: Seed of the search.
        device: "auto", "cpu", "cuda", ...
        processes: The processes that search together.
        sieve: Which images are read.
    """
    if isinstance(evaluator, str):
        config = search_evaluator_config(evaluator, strategy, options)
        made = create_named_evaluator(
            evaluator,
            space,
            data,
            strategy,
            config,
            evaluations=strategy.evaluations,
            seed=seed,
            device=device,
            processes=processes,
            sieve=sieve,
        )
        return evaluator, dataclasses.asdict(config), made
    sieve.without("an evaluator of your own reads images as it likes")
    if not isinstance(evaluator, type) and hasattr(evaluator, "evaluate"):
        if options:
            raise OptionError("evaluator_options go with a name or a class, not with an object")
        kind = type(evaluator)
        return f"{kind.__module__}.{kind.__qualname__}", options, cast(Evaluator, evaluator)
    if callable(evaluator):
        refuse_own("evaluator", options, ("space", "data", "seed", "device"))
        name = getattr(evaluator, "__qualname__", type(evaluator).__qualname__)
        made = made_by_user(
            "evaluator", evaluator, Evaluator, space, data, seed=seed, device=device, **options
        )
        return f"{evaluator.__module__}.{name}", options, made
    raise OptionError(
        f"evaluator must be a name, a class or an object with the methods of "
        f"ddpnas.evaluators.Evaluator, not {evaluator!r}"
    )


def made_by_user(
    kind: str, factory: Callable[..., Any], protocol: type, *args: Any, **options: Any
) -> Any:
    """Return what a user's class or function makes, if it has the members that a search needs.

    Args:
        kind: "strategy" or "evaluator".
        factory: The class or function.
        protocol: Its members.
        args: What it is given in order.
        options: What it is given by name.

    Raises:
        OptionError: It cannot be called like that, or returns something else.
    """
    try:
        made = factory(*args, **options)
    except TypeError as error:
        try:
            inspect.signature(factory).bind(*args, **options)
        except TypeError as reason:
            raise OptionError(f"{kind} cannot be made by {shown(factory)}: {reason}") from error
        raise
    members = [name for name in vars(protocol) if not name.startswith("_")]
    own = getattr(made, "__dict__", {})
    if lacking := [name for name in members if not hasattr(type(made), name) and name not in own]:
        raise OptionError(
            f"{kind} must be a class or function that makes one with the members of "
            f"{protocol.__module__}.{protocol.__name__}; {shown(factory)} returned "
            f"{shown(made)}, which has no {lacking[0]}"
        )
    return made


def refuse_own(kind: str, options: Mapping[str, Any], own: Sequence[str]) -> None:
    """Raise :class:`OptionError` for options that a search gives every strategy or evaluator.

    Args:
        kind: "strategy" or "evaluator".
        options: The options that were given.
        own: Names of what the search gives.
    """
    for name in own:
        if name in options:
            raise OptionError(f"{name} is not an option of the {kind}: the search sets it")
