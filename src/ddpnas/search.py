"""search(): space, data, strategy and evaluator put together, in a run folder that can resume."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpnas._version import __version__
from ddpnas.architecture import Architecture, Decision
from ddpnas.data import Data, as_data
from ddpnas.disk import read_json
from ddpnas.distribution import JointDistribution
from ddpnas.errors import DataError, RunError, SpaceError
from ddpnas.evaluators import Evaluation, Evaluator, SupernetConfig, SupernetEvaluator
from ddpnas.run import RunFolder
from ddpnas.space import SearchSpace
from ddpnas.spaces import create_space
from ddpnas.spaces.own import is_file_space, space_from_file
from ddpnas.strategies import Strategy, create_strategy
from ddpnas.training.epoch import pick_device

__all__ = ["Progress", "SearchResult", "check_fit", "open_space", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a search stands, given to ``on_progress`` at its start and after each evaluation.

    Attributes:
        done, total: evaluated architectures.
        stage: number of prunings so far.
        distribution: theta and survivors.
        record: of the last evaluation, as in the history; None at the start.
        seconds_left: estimate from the last evaluations; None before there are any.
    """

    done: int
    total: int
    stage: int
    distribution: JointDistribution
    record: Mapping[str, Any] | None
    seconds_left: float | None


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        architecture: the most likely one made of survivors.
        text: the same in the space's text form.
        distribution: theta of all options, and survivors; what ``generate`` takes.
        history: one record an evaluated architecture, in order: evaluation, stage,
            architecture, score, what the evaluator measured, and ``strategy_seconds`` (asking
            and telling the strategy) and ``saving_seconds`` (writing the record and checkpoint
            before this one, in this session).
        seconds: spent evaluating, over all sessions.
    """

    architecture: Architecture
    text: str
    distribution: JointDistribution
    history: list[dict[str, Any]] = field(repr=False)
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write the result and its history into a folder of their own.

        Raises:
            RunError: the folder cannot be written or is not empty.
        """
        folder = RunFolder.create(path)
        try:
            for record in self.history:
                folder.append("history.jsonl", record)
            folder.write_json("result.json", self._to_dict())
        finally:
            folder.close()

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Return the result of a finished run.

        Raises:
            RunError: there is no result in the folder, or the run is not finished.
        """
        folder = Path(path)
        if (folder / "run.json").exists() and not (folder / "result.json").exists():
            raise RunError(f"the run in {path} is not finished; go on: ddpnas resume {path}")
        data = read_json(folder / "result.json")
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return cls(
            architecture=Architecture(data["architecture"]),
            text=data["text"],
            distribution=JointDistribution.from_dict(data["distribution"]),
            history=[json.loads(line) for line in lines],
            seconds=data["seconds"],
        )

    def _to_dict(self) -> dict[str, Any]:
        return {
            "architecture": dict(self.architecture),
            "text": self.text,
            "evaluations": len(self.history),
            "seconds": self.seconds,
            "distribution": self.distribution.to_dict(),
        }


def search(
    space: SearchSpace | str,
    data: Data | Any = "fashion-mnist-12k",
    strategy: str = "ddpnas",
    *,
    out: str | Path | None = None,
    seed: int = 0,
    strategy_options: Mapping[str, Any] | None = None,
    supernet: SupernetConfig | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
) -> SearchResult:
    """Search the space with shared weights and return what was found.

    Args:
        space: a search space, or the name of a published one, which is fitted to the data.
        data: see :func:`ddpnas.data.as_data`: a name, a path, a pair of tensors, a Dataset.
        strategy: a name in :func:`ddpnas.list_strategies`.
        out: run folder; None keeps nothing on disk.
        seed: of everything random.
        strategy_options: of the strategy.
        supernet: how the shared weights are trained.
        device: "auto", "cpu", "cuda", ...
        resume: go on with the unfinished run in ``out``, to the result that it would have had.
        overwrite: replace whatever run ``out`` holds.
        on_progress: called at the start and after each evaluation.

    Raises:
        DdpnasError: for whatever does not fit, with a sentence that says what to change.
    """
    data = as_data(data)
    if isinstance(space, str):
        space = open_space(space, data, {})
    check_fit(space, data)
    supernet = supernet or SupernetConfig()
    plan = create_strategy(strategy, space, seed=seed, **(strategy_options or {}))
    config = {
        "space": space.name,
        "space_options": space.plain_options,
        **data.source,
        "strategy": strategy,
        "strategy_options": dict(strategy_options or {}),
        "supernet": dataclasses.asdict(supernet),
        "seed": seed,
        "device": device,
    }
    evaluator = SupernetEvaluator(space, data, plan.evaluations, supernet, seed=seed, device=device)
    folder = None
    if out is not None:
        folder = RunFolder.open(out) if resume else RunFolder.create(out, overwrite=overwrite)
    elif resume:
        raise RunError("resume needs the run folder: out=...")
    try:
        identity = _identity(config, space, data)
        if folder is not None and resume:
            _refuse_differences(read_json(folder.path / "run.json")["identity"], identity)
            if (folder.path / "result.json").exists():
                return SearchResult.load(folder.path)
        elif folder is not None:
            about = _about(space, data, plan.evaluations)
            made_with = _versions(device)
            folder.write_identity(
                config, {"identity": identity, "about": about, "made_with": made_with}
            )
        history = _loop(plan, evaluator, folder, on_progress)
        result = SearchResult(
            architecture=plan.architecture,
            text=space.format(plan.architecture),
            distribution=plan.distribution,
            history=history,
            seconds=sum(record["seconds"] for record in history),
        )
        if folder is not None:
            folder.write_json("result.json", result._to_dict())
        return result
    finally:
        if folder is not None:
            folder.close()


def _loop(
    strategy: Strategy,
    evaluator: Evaluator,
    folder: RunFolder | None,
    on_progress: Callable[[Progress], object] | None,
) -> list[dict[str, Any]]:
    """Run the search to its end from wherever the folder's checkpoint stands."""
    history: list[dict[str, Any]] = []
    scores: list[float] = []  # of the batch that was asked and is not told yet
    saved = folder.load_checkpoint() if folder is not None else None
    if folder is not None and saved is not None:
        tensors, plain = saved
        strategy.load_state_dict(plain["strategy"])
        evaluator.load_state_dict(tensors, plain["evaluator"])
        scores = plain["scores"]
        history = folder.records("history.jsonl", at_most=plain["evaluations"])
        folder.records("distributions.jsonl", at_most=strategy.stage)
    elif folder is not None:
        folder.records("history.jsonl", at_most=0)
        folder.records("distributions.jsonl", at_most=0)

    def report(record: Mapping[str, Any] | None) -> None:
        if on_progress is not None:
            recent = [r["seconds"] for r in history[-10:]]
            left = strategy.evaluations - len(history)
            on_progress(
                Progress(
                    done=len(history),
                    total=strategy.evaluations,
                    stage=strategy.stage,
                    distribution=strategy.distribution,
                    record=record,
                    seconds_left=left * statistics.median(recent) if recent else None,
                )
            )

    report(None)
    saving_seconds = 0.0
    while not strategy.done:
        asked = time.perf_counter()
        batch = strategy.ask()
        strategy_seconds = time.perf_counter() - asked
        evaluations = evaluator.evaluate(batch[len(scores) :])
        while len(scores) < len(batch):
            started = time.perf_counter()
            evaluation = next(evaluations)
            seconds = time.perf_counter() - started
            record = _record(len(history), strategy.stage, batch[len(scores)], evaluation, seconds)
            history.append(record)
            scores.append(evaluation.score)
            stage = strategy.stage
            if len(scores) == len(batch):
                told_at = time.perf_counter()
                strategy.tell(batch, scores)
                strategy_seconds += time.perf_counter() - told_at
            record["strategy_seconds"], strategy_seconds = strategy_seconds, 0.0
            record["saving_seconds"] = saving_seconds
            if folder is not None:
                saved_at = time.perf_counter()
                folder.append("history.jsonl", record)
                if strategy.stage > stage:
                    folder.append(
                        "distributions.jsonl",
                        {
                            "stage": strategy.stage,
                            "evaluations": len(history),
                            **strategy.distribution.to_dict(),
                        },
                    )
                told = len(scores) == len(batch)
                tensors, plain = evaluator.state_dict()
                state = {
                    "evaluations": len(history),
                    "scores": [] if told else scores,
                    "strategy": strategy.state_dict(),
                    "evaluator": plain,
                }
                folder.save_checkpoint(tensors, state)
                saving_seconds = time.perf_counter() - saved_at
            report(record)
        scores = []
    return history


def _record(
    evaluation_number: int,
    stage: int,
    architecture: Architecture,
    evaluation: Evaluation,
    seconds: float,
) -> dict[str, Any]:
    return {
        "evaluation": evaluation_number,
        "stage": stage,
        "architecture": dict(architecture),
        "score": evaluation.score,
        **evaluation.details,
        "seconds": seconds,
    }


def open_space(name: str, data: Data, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space of that name, published or in a user's file, for the data.

    Args:
        name: one of :func:`ddpnas.list_spaces`, or ``my_file.py:network``, which is executed.
        data: gives the number of classes and the input shape.
        options: of the space; what contradicts the data is an error.

    Raises:
        DataError: other classes or another input shape asked for than the data has.
        SpaceError, OptionError: see :func:`ddpnas.create_space`.
    """
    fitting = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    for option, value in fitting.items():
        asked = options.get(option, value)
        if (tuple(asked) if isinstance(asked, list) else asked) != value:
            raise DataError(
                f"{option} {asked} was asked for, but {data.name} has {value}; leave {option} out "
                f"to take it from the data"
            )
    make = space_from_file if is_file_space(name) else create_space
    space = make(name, **{**options, **fitting})
    check_fit(space, data)
    return space


def check_fit(space: SearchSpace, data: Data) -> None:
    """Raise :class:`SpaceError` when the space's networks do not fit the data."""
    if space.input_shape != data.input_shape:
        raise SpaceError(
            f"space {space.name!r} takes inputs of shape {space.input_shape}, {data.name} has "
            f"{data.input_shape}; use space.with_options(input_shape={data.input_shape})"
        )
    if space.output_shape != (len(data.classes),):
        raise SpaceError(
            f"space {space.name!r} gives outputs of shape {space.output_shape}, {data.name} has "
            f"{len(data.classes)} classes; let its network end in {len(data.classes)} outputs"
        )


def _identity(config: Mapping[str, Any], space: SearchSpace, data: Data) -> dict[str, Any]:
    """Return what has to be equal for a run to go on as if it had not been interrupted."""

    def plain(decision: Decision) -> list[Any]:
        return [decision.name, *decision.options]

    names = ("space", "space_options", "strategy", "strategy_options", "supernet", "seed")
    return {
        **{name: config[name] for name in names},
        "data": {"name": data.name, "fingerprint": data.fingerprint()},
        "decisions": [plain(decision) for decision in space.decisions],
    }


def _about(space: SearchSpace, data: Data, evaluations: int) -> dict[str, Any]:
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


def _refuse_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    differences = [
        f"{key} was {json.dumps(before.get(key))} and is {json.dumps(now.get(key))}"
        for key in now
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise RunError(
            "the run cannot go on with something else than it began with: "
            + "; ".join(differences)
            + "; start a new run with another --out"
        )


def _versions(device: str) -> dict[str, Any]:
    return {
        "ddpnas": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "device": str(pick_device(device)),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
