"""SearchLoop: ask the strategy, have its batch scored, tell it, and keep everything on the way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.runs.folder import HISTORY, STAGES, RunFolder
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import Strategy
from ddpnas.training.distributed import Processes

__all__ = ["Progress", "SearchLoop", "own_seconds"]

_SAVING_SHARE = 0.01  # of the time: a checkpoint waits until the last one's seconds are no more


@dataclass(frozen=True)
class Progress:
    """Where a search stands, given to ``on_progress`` at its start and after each evaluation.

    Also after each epoch of training that comes before the scores of a batch.

    Attributes:
        done: evaluated architectures so far.
        total: how many the whole search evaluates.
        stage: number of prunings so far.
        distribution: theta and survivors.
        record: of the last evaluation, as in the history; None at the start and after an epoch.
        seconds_left: estimate of the training before the next scores and of the scores, as far as
            either has been seen; None before anything has.
        epoch: what was measured in an epoch before the scores of a batch; None otherwise.
    """

    done: int
    total: int
    stage: int
    distribution: JointDistribution
    record: Mapping[str, Any] | None
    seconds_left: float | None
    epoch: Mapping[str, float] | None = None


class SearchLoop:
    """A search, from wherever the checkpoint of its folder stands to its end.

    Args:
        strategy: proposes, and learns from scores.
        evaluator: gives the scores.
        folder: keeps history, stages and checkpoints; None keeps nothing on disk.
        on_progress: called at the start, after each epoch and after each evaluation.
        processes: those that search together, of which the first has the folder.

    Attributes:
        history: see :class:`ddpnas.SearchResult`.
    """

    def __init__(
        self,
        strategy: Strategy,
        evaluator: Evaluator,
        folder: RunFolder | None,
        on_progress: Callable[[Progress], object] | None,
        processes: Processes,
    ) -> None:
        self._strategy, self._evaluator, self._folder = strategy, evaluator, folder
        self._on_progress = on_progress
        self._scores: list[float] = []  # of the batch that was asked and is not told yet
        self._preparing = 0.0  # seconds spent on the batch before its first score
        self._saving_seconds = 0.0  # for the evaluation before
        self._saved_at, self._saving = (
            time.perf_counter(),
            0.0,
        )  # the last checkpoint: when, how long
        self.history: list[dict[str, Any]] = processes.share(self._restore(processes))

    def _restore(self, processes: Processes) -> list[dict[str, Any]]:
        """Take up what the checkpoint holds, if there is one; return the history so far."""
        folder = self._folder
        saved = processes.share(
            processes.on_first(lambda: None if folder is None else folder.load_checkpoint())
        )
        evaluations = 0
        if saved is not None:
            tensors, plain = saved
            self._strategy.load_state_dict(plain["strategy"])
            self._evaluator.load_state_dict(tensors, plain["evaluator"])
            self._scores, self._preparing = plain["scores"], plain["preparing"]
            evaluations = plain["evaluations"]
        if folder is None:
            return []
        folder.cut(STAGES, self._strategy.stage)
        return folder.cut(HISTORY, evaluations)

    def run(self) -> list[dict[str, Any]]:
        """Search to the end; return the history."""
        self._report()
        while not self._strategy.done:
            self._search_batch()
        return self.history

    def _search_batch(self) -> None:
        """Ask for a batch, score what of it is not scored yet, and tell the scores."""
        clock = _Clock()
        batch = self._strategy.ask()
        strategy_seconds = clock.lap()
        rest = batch[len(self._scores) :]
        for epoch in self._evaluator.prepare(rest):
            self._preparing += clock.lap()
            self._save()
            self._report(epoch=epoch)
            clock.lap()
        for architecture, evaluation in zip(rest, self._evaluator.evaluate(rest), strict=False):
            seconds, self._preparing = self._preparing + clock.lap(), 0.0
            record = self._record(architecture, evaluation, seconds)
            self._scores.append(evaluation.score)
            if len(self._scores) == len(batch):
                self._strategy.tell(batch, self._scores)
                self._scores = []
            strategy_seconds += clock.lap()
            record.update(strategy_seconds=strategy_seconds, saving_seconds=self._saving_seconds)
            self._keep(record)
            strategy_seconds, self._saving_seconds = 0.0, clock.lap()
            self._report(record)
            clock.lap()

    def _record(
        self, architecture: Architecture, evaluation: Evaluation, seconds: float
    ) -> dict[str, Any]:
        return {
            "evaluation": len(self.history),
            "stage": self._strategy.stage,
            "architecture": dict(architecture),
            "score": evaluation.score,
            **evaluation.details,
            "seconds": seconds,
        }

    def _keep(self, record: dict[str, Any]) -> None:
        """Add a record to the history, and to the folder what has changed with it."""
        self.history.append(record)
        if self._folder is None:
            return
        self._folder.append(HISTORY, record)
        if self._strategy.stage > record["stage"]:
            stage = {"stage": self._strategy.stage, "evaluations": len(self.history)}
            distribution = self._strategy.distribution.to_dict()
            self._folder.append(STAGES, {**stage, **distribution})
        self._save()

    def _save(self) -> None:
        """Write a checkpoint, unless the last is so fresh that saving would take too much time."""
        if self._folder is None:
            return
        clock = _Clock()
        waited = clock.started - self._saved_at
        if self._saving > _SAVING_SHARE * waited and not self._strategy.done:
            return
        tensors, plain = self._evaluator.state_dict()
        state = {
            "evaluations": len(self.history),
            "scores": self._scores,
            "preparing": self._preparing,
            "strategy": self._strategy.state_dict(),
            "evaluator": plain,
        }
        self._folder.save_checkpoint(tensors, state)
        self._saving = clock.lap()
        self._saved_at = clock.started

    def _report(
        self, record: Mapping[str, Any] | None = None, epoch: Mapping[str, float] | None = None
    ) -> None:
        if self._on_progress is None:
            return
        strategy, done = self._strategy, len(self.history)
        self._on_progress(
            Progress(
                done=done,
                total=strategy.evaluations,
                stage=strategy.stage,
                distribution=strategy.distribution,
                record=record,
                seconds_left=_seconds_left(self.history, strategy.evaluations - done, epoch),
                epoch=epoch,
            )
        )


class _Clock:
    """Tells how long ago it was asked last."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since it was made."""
        before, self.started = self.started, time.perf_counter()
        return self.started - before


def _seconds_left(
    history: Sequence[Mapping[str, Any]], evaluations: int, epoch: Mapping[str, float] | None
) -> float | None:
    """Return an estimate from the last evaluations and, while a batch is prepared, its epochs."""
    if not history and epoch is None:
        return None
    seen = [own_seconds(record) for record in history[-10:]]
    left = evaluations * statistics.fmean(seen or [0.0])
    if epoch is not None:
        left += (epoch["epochs"] - epoch["epoch"]) * epoch["train_seconds"]
    return left


def own_seconds(record: Mapping[str, Any]) -> float:
    """Return how long an evaluation of the history took by itself.

    ``seconds`` are those since the one before, and count what several share for the first of them.
    """
    if "valid_seconds" not in record:
        return float(record["seconds"])
    return sum(float(record.get(f"{part}_seconds", 0.0)) for part in ("train", "valid", "proxy"))
