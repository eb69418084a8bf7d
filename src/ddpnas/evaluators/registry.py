"""The evaluators by name, and their options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError, nearest
from ddpnas.evaluators.base import Evaluator
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.continued import ContinuedConfig, ContinuedEvaluator
from ddpnas.evaluators.rmi import RMIConfig, RMIEvaluator
from ddpnas.evaluators.standalone import StandaloneConfig, StandaloneEvaluator
from ddpnas.evaluators.supernet import SupernetEvaluator
from ddpnas.evaluators.table import TableConfig, TableEvaluator
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.utils.settings import Seed, checked, checked_options
from ddpnas.utils.shapes import hints_of

__all__ = [
    "create_evaluator",
    "evaluator_class",
    "evaluator_config",
    "evaluator_options",
    "list_evaluators",
]


@dataclass(frozen=True)
class _Setting:
    """What every evaluator is created with, besides its options."""

    evaluations: int
    seed: int
    device: str
    processes: Processes
    sieve: SieveConfig


@dataclass(frozen=True)
class _Entry:
    """A registered evaluator: its class, the dataclass of its options, and how it is made."""

    kind: type
    config: type
    create: Callable[[SearchSpace, Data, Any, _Setting], Evaluator]


def _supernet(
    space: SearchSpace, data: Data, config: SupernetConfig, setting: _Setting
) -> SupernetEvaluator:
    return SupernetEvaluator(
        space,
        data,
        setting.evaluations,
        config,
        seed=setting.seed,
        device=setting.device,
        processes=setting.processes,
        sieve=setting.sieve,
    )


def _continued(
    space: SearchSpace, data: Data, config: ContinuedConfig, setting: _Setting
) -> ContinuedEvaluator:
    if setting.processes.size > 1:
        raise OptionError(
            "the evaluator continued trains in one process; start the search without torchrun or "
            "accelerate"
        )
    return ContinuedEvaluator(
        space, data, config, seed=setting.seed, device=setting.device, sieve=setting.sieve
    )


def _rmi(space: SearchSpace, data: Data, config: RMIConfig, setting: _Setting) -> RMIEvaluator:
    if setting.processes.size > 1:
        raise OptionError(
            "the evaluator rmi trains in one process; start the search without torchrun or "
            "accelerate"
        )
    setting.sieve.without("the evaluator rmi trains on one batch")
    return RMIEvaluator(space, data, config, seed=setting.seed, device=setting.device)


def _standalone(
    space: SearchSpace, data: Data, config: StandaloneConfig, setting: _Setting
) -> StandaloneEvaluator:
    if setting.processes.size > 1:
        raise OptionError(
            "the evaluator standalone spreads its trainings by --evaluator-options.workers; start "
            "the search without torchrun or accelerate"
        )
    return StandaloneEvaluator(
        space, data, config, seed=setting.seed, device=setting.device, sieve=setting.sieve
    )


def _table(
    space: SearchSpace, data: Data, config: TableConfig, setting: _Setting
) -> TableEvaluator:
    setting.sieve.without("the evaluator table reads no images")
    return TableEvaluator.from_benchmark(space, config)


_EVALUATORS: dict[str, _Entry] = {
    "continued": _Entry(ContinuedEvaluator, ContinuedConfig, _continued),
    "rmi": _Entry(RMIEvaluator, RMIConfig, _rmi),
    "standalone": _Entry(StandaloneEvaluator, StandaloneConfig, _standalone),
    "supernet": _Entry(SupernetEvaluator, SupernetConfig, _supernet),
    "table": _Entry(TableEvaluator, TableConfig, _table),
}


def list_evaluators() -> list[str]:
    """Return the names that :func:`create_evaluator` takes.

    Example:
        >>> list_evaluators()
        ['continued', 'rmi', 'standalone', 'supernet', 'table']
    """
    return sorted(_EVALUATORS)


def create_evaluator(
    name: str,
    space: SearchSpace,
    data: Data,
    /,
    *,
    evaluations: int,
    seed: int = 0,
    device: str = "auto",
    processes: Processes = ALONE,
    sieve: SieveConfig | None = None,
    **options: Any,
) -> Evaluator:
    """Return the evaluator of that name.

    Args:
        name: One of :func:`list_evaluators`.
        space: The searched space.
        data: Its training split trains, its validation split scores.
        evaluations: Number of architectures that will be scored in all. Learning rates that fall
            over the whole search depend on it.
        seed: Seed for initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...
        processes: The processes that search together.
        sieve: Which images are read; None is all.
        options: Options of the evaluator; ``ddpnas evaluators NAME`` lists them.

    Raises:
        OptionError: Unknown name or option, an option of another type or out of range, or a sieve
            that the evaluator cannot run.

    Example:
        >>> import ddpnas
        >>> space, data = ddpnas.create_space("nasbench201"), ddpnas.load_data("sign-digits-small")
        >>> table = create_evaluator("table", space, data, evaluations=1, table="nasbench201")
        >>> [found] = table.evaluate([space.decode((3,) * 6)])
        >>> f"{found.score:.3f}"
        '0.691'
    """
    config = evaluator_config(name, options)
    seed = checked("seed", Seed, seed)
    setting = _Setting(evaluations, seed, device, processes, sieve or SieveConfig())
    return _EVALUATORS[name].create(space, data, config, setting)


def evaluator_class(name: str) -> type:
    """Return the class of the evaluator of that name.

    Raises:
        OptionError: Unknown name.

    Example:
        >>> evaluator_class("table").__name__
        'TableEvaluator'
    """
    return _entry(name).kind


def evaluator_config(name: str, options: Mapping[str, Any]) -> Any:
    """Return the dataclass of an evaluator's options, such as a :class:`SupernetConfig`.

    Args:
        name: One of :func:`list_evaluators`.
        options: The options that are not to be the default.

    Raises:
        OptionError: Unknown name or option, or an option of another type or out of range.

    Example:
        >>> evaluator_config("standalone", {"epochs": 2}).recipe
        'quick'
    """
    config = _entry(name).config
    return config(**checked_options(f"evaluator {name!r}", hints_of(config), options))


def evaluator_options(name: str, /, **given: Any) -> dict[str, Any]:
    """Return all options of an evaluator: those given, and the defaults of the others.

    Raises:
        OptionError: Unknown name or option, or an option of another type or out of range.

    Example:
        >>> evaluator_options("table")
        {'table': 'nasbench201', 'epochs': None}
    """
    return dataclasses.asdict(evaluator_config(name, given))


def _entry(name: str) -> _Entry:
    if name not in _EVALUATORS:
        raise OptionError(nearest("evaluator", name, _EVALUATORS))
    return _EVALUATORS[name]
