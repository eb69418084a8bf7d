"""What a run folder keeps of a run beside its results: what it is, what searched, with what."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ddpnas.data.data import Data
from ddpnas.evaluators.base import Evaluator
from ddpnas.evaluators.registry import evaluator_options, list_evaluators
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode
from ddpnas.strategies.registry import list_strategies, strategy_options
from ddpnas.utils.environment import environment
from ddpnas.utils.options import refuse_differences

__all__ = ["about_run", "note_processes", "refuse_another", "run_identity", "versions"]

logger = logging.getLogger(__name__)


def run_identity(
    config: Mapping[str, Any],
    space: SearchSpace,
    data: Data,
    strategy: UserCode | None,
    evaluator: Evaluator,
) -> dict[str, Any]:
    """Return what has to be equal for a run to go on as if it had not been interrupted.

    Args:
        config: of the run, resolved.
        space: what is searched.
        data: with what.
        strategy: file of a user's own strategy.
        evaluator: gives the scores.
    """
    names = ["space", "space_options", "strategy", "strategy_options", "evaluator", "seed"]
    return {
        **{name: config[name] for name in names},
        "code": _fingerprint(space.source),
        "strategy_code": _fingerprint(strategy),
        "evaluator_options": evaluator.identity(),
        "data": {"name": data.name, "fingerprint": data.fingerprint()},
        "decisions": [decision.to_dict() for decision in space.decisions],
    }


def _fingerprint(source: UserCode | None) -> dict[str, Any] | None:
    return None if source is None else source.fingerprint()


def about_run(space: SearchSpace, data: Data, evaluations: int) -> dict[str, Any]:
    """Return what a reader of the run wants to know and cannot without the space and the data."""
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {
        "evaluations": evaluations,
        "space": space.to_dict(),
        "data": {
            "classes": list(data.classes),
            "input_shape": list(data.input_shape),
            "items": {name: len(split) for name, split in splits.items() if split is not None},
        },
    }


def refuse_another(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    space: SearchSpace,
    strategy: UserCode | None,
    folder: Path,
) -> None:
    """Raise :class:`ddpnas.errors.RunError` when a run would go on as another one.

    Args:
        before: identity of the run, as it was kept.
        now: identity of what would go on.
        space: of the latter.
        strategy: its file, of a user's own.
        folder: of the run.
    """
    codes = {"space": "code", "strategy": "strategy_code"}
    for source, kept in ((space.source, "code"), (strategy, "strategy_code")):
        if source is not None:
            source.require(before.get(kept), folder)
    same = [what for what, code in codes.items() if None not in (now[code], before.get(code))]
    known = strategy_options(now["strategy"]) if now["strategy"] in list_strategies() else {}
    judge = now["evaluator"]
    refuse_differences(
        "run",
        before,
        {name: value for name, value in now.items() if name not in codes.values()},
        defaults={
            "space_options": space.plain_defaults,
            "strategy_options": known,
            "evaluator_options": evaluator_options(judge) if judge in list_evaluators() else {},
        },
        left_out=("data.name", *same),  # these may have moved
        instead="start a new run with another --out",
    )


def note_processes(made_with: Mapping[str, Any], processes: int) -> None:
    """Log what it changes when a run goes on with another number of processes."""
    began = made_with.get("processes", 1)
    if began != processes:
        logger.warning(
            "the run began on %d process%s and goes on on %d: batches and random numbers stay the "
            "same, scores may differ from the unbroken run's as far as training amplifies rounding",
            began,
            "" if began == 1 else "es",
            processes,
        )


def versions(device: torch.device, processes: int) -> dict[str, Any]:
    """Return what a run was made with: versions, machine, device, number of processes, date."""
    return {
        **environment("torch", "numpy"),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "device": str(device),
        "processes": processes,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
