"""RunIdentity: what must be equal for a run to continue, and how the rest of a run is recorded."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from ddpnas.data.data import Data
from ddpnas.errors import OptionError
from ddpnas.evaluators.base import Evaluator
from ddpnas.runs.config import RunConfig
from ddpnas.space.decisions import DecisionForm, SpaceForm
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import CodeForm, UserCode, names_file
from ddpnas.strategies.registry import list_strategies, strategy_options
from ddpnas.utils.environment import environment
from ddpnas.utils.options import differences
from ddpnas.utils.read import Size, Whole, checked_content

__all__ = [
    "RunForm",
    "RunIdentity",
    "about_run",
    "code_of_teacher",
    "note_processes",
    "versions",
]

logger = logging.getLogger(__name__)


class _DataForm(TypedDict):
    name: str
    fingerprint: str


@dataclass(frozen=True)
class RunIdentity:
    """What must be equal for a run to continue as if it had not been interrupted.

    Attributes:
        space: Name of the space.
        space_options: All its options, defaults included.
        space_code: Fingerprint of the file that a user's space comes from; None for others.
        strategy: Name of the strategy.
        strategy_options: All its options that are known.
        strategy_code: Fingerprint of the file that a user's strategy comes from; None for others.
        evaluator: Name of the evaluator.
        evaluator_options: What its scores depend on.
        evaluator_code: Fingerprint of the file that the evaluator's teacher comes from; None for
            others.
        seed: Random seed.
        data: Name and fingerprint of the data.
        decisions: The decisions of the space, as plain data.

    Example:
        >>> kept = RunIdentity("toy", {}, None, "random", {}, None, "table", {}, None, 0, {}, [])
        >>> kept.difference(dataclasses.replace(kept, seed=3))
        'seed was 0 and is 3'
        >>> kept.difference(kept)
        ''
    """

    space: str
    space_options: Mapping[str, Any]
    space_code: CodeForm | None
    strategy: str
    strategy_options: Mapping[str, Any]
    strategy_code: CodeForm | None
    evaluator: str
    evaluator_options: Mapping[str, Any]
    evaluator_code: CodeForm | None
    seed: int
    data: _DataForm
    decisions: list[DecisionForm]

    @classmethod
    def of(
        cls,
        config: RunConfig,
        space: SearchSpace,
        data: Data,
        strategy_code: UserCode | None,
        evaluator: Evaluator,
    ) -> RunIdentity:
        """Return the identity of a search.

        Args:
            config: What it was asked to do.
            space: What is searched.
            data: The images and labels.
            strategy_code: The file of a user's strategy.
            evaluator: Gives the scores.
        """
        known = strategy_options(config.strategy) if config.strategy in list_strategies() else {}
        teacher = code_of_teacher(config.evaluator_options)
        return cls(
            space=config.space,
            space_options={**space.plain_defaults, **config.space_options},
            space_code=None if space.source is None else space.source.fingerprint(),
            strategy=config.strategy,
            strategy_options={**known, **config.strategy_options},
            strategy_code=None if strategy_code is None else strategy_code.fingerprint(),
            evaluator=config.evaluator,
            evaluator_options=evaluator.identity(),
            evaluator_code=None if teacher is None else teacher.fingerprint(),
            seed=config.seed,
            data={"name": data.name, "fingerprint": data.fingerprint()},
            decisions=[decision.to_dict() for decision in space.decisions],
        )

    def difference(self, other: RunIdentity) -> str:
        """Return what differs in the other one, in words; empty if nothing does.

        Names of data and of files of users do not count, because files may move; their content
        does. Code is left to :meth:`ddpnas.space.user_code.UserCode.require`, which names the file.
        """
        moved = {"data.name", "space_code", "strategy_code", "evaluator_code"}
        if None not in (self.space_code, other.space_code):
            moved.add("space")
        if None not in (self.strategy_code, other.strategy_code):
            moved.add("strategy")
        return differences(self.to_dict(), other.to_dict(), left_out=moved)

    def to_dict(self) -> dict[str, Any]:
        """Return the identity as plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: str | Path) -> RunIdentity:
        """Return the identity that :meth:`to_dict` described.

        Args:
            content: Plain data.
            path: The file it came from, for messages.

        Raises:
            RunError: Another version of ddpnas wrote it.
        """
        found: RunIdentity = checked_content(content, cls, path)
        return found


def code_of_teacher(options: Mapping[str, Any]) -> UserCode | None:
    """Return the file in which an evaluator's teacher is code; None for other teachers.

    Args:
        options: Options of the evaluator.
    """
    name = options.get("teacher")
    if not isinstance(name, str) or not names_file(name):
        return None
    return UserCode.read(name, "network", OptionError)


class _Held(TypedDict):
    classes: list[str]
    input_shape: list[Size]
    items: dict[str, Whole]


class _AboutForm(TypedDict):
    evaluations: Whole
    space: SpaceForm
    data: _Held


class _MadeWith(TypedDict):
    processes: NotRequired[Size]
    device: NotRequired[str]
    started: NotRequired[str]


class RunForm(TypedDict):
    """What ``run.json`` holds."""

    identity: dict[str, Any]
    about: _AboutForm
    made_with: _MadeWith


def about_run(space: SearchSpace, data: Data, evaluations: int) -> dict[str, Any]:
    """Return what a reader of the run needs to know without building the space or the data.

    Args:
        space: What is searched.
        data: The images and labels.
        evaluations: Number of architectures that the search will score.
    """
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


def note_processes(made_with: Mapping[str, Any], processes: int) -> None:
    """Log what changes if a run continues with another number of processes.

    Args:
        made_with: What the run recorded at its beginning.
        processes: The number now.
    """
    began = made_with.get("processes", 1)
    if began != processes:
        logger.warning(
            "Resuming with %d processes (was %d): batches and random numbers stay the same, but "
            "scores may differ from those of the unbroken run, because training amplifies "
            "rounding",
            processes,
            began,
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
