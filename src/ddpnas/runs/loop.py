"""SearchLoop: ask the strategy for a batch, score it, tell the scores, and save on the way."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddpnas.errors import RunError
from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.runs._forms import CheckpointForm, RecordForm
from ddpnas.runs.folder import HISTORY, STAGES, RunFolder
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import Strategy
from ddpnas.training.checkpoint import restoring
from ddpnas.training.distributed import Processes
from ddpnas.utils.read import checked_content, read_records

__all__ = ["Progress", "SearchLoop", "own_seconds", "search_seconds"]

# A checkpoint is due when writing the last one took at most this part of the time since then.
_SAVING_SHARE = 0.01


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    A search gives it to ``on_progress`` at its start, after each evaluation, and after each epoch
    of training that comes before the scores of a batch.

    Attributes:
        done: Number of architectures evaluated so far.
        total: Number of architectures that the whole search evaluates.
        stage: Number of prunings so far.
        distribution: Probabilities of all options, and the survivors.
        record: Record of the last evaluation, as in the history. None at the start and after an
            epoch.
        seconds_left: Estimated seconds for the rest of the search, from the evaluations and epochs
            so far. None before there are any.
        epoch: Measurements of the last epoch, if it came before the scores of a batch; otherwise
            None.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small")
        >>> seen = []
        >>> result = ddpnas.search("nasbench201", data, "random", evaluator="table",
        ...                        strategy_options={"evaluations": 3}, on_progress=seen.append)
        >>> [f"{progress.done} of {progress.total}" for progress in seen]
        ['0 of 3', '1 of 3', '2 of 3', '3 of 3']
    """

    done: int
    total: int
    stage: int
    distribution: JointDistribution
    record: Mapping[str, Any] | None
    seconds_left: float | None
    epoch: Mapping[str, float] | None = None


class SearchLoop:
    """A search, from the checkpoint in its folder (or the beginning) to its end.

    Args:
        strategy: Proposes architectures and learns from their scores.
        evaluator: Scores architectures.
        folder: Keeps history, stages and checkpoints. None keeps nothing on disk.
        on_progress: Called at the start, after each epoch and after each evaluation.
        processes: The processes that search together. The first one has the folder.

    Attributes:
        history: One record for each evaluated architecture, see :class:`ddpnas.SearchResult`.
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
        # Scores of the present batch: it was asked for, but the strategy is told all at once.
        self._scores: list[float] = []
        self._preparing = 0.0  # seconds spent on the batch before its first score
        self._saving_seconds = 0.0  # spent on saving after the evaluation before this one
        # When the last checkpoint was written, and how many seconds that took.
        self._saved_at, self._saving = time.perf_counter(), 0.0
        self.history: list[dict[str, Any]] = processes.share(self._restore(processes))
        self._firsts: dict[Architecture, Mapping[str, Any]] = {}  # the first record of each
        for record in self.history:
            self._firsts.setdefault(Architecture(record["architecture"]), record)

    def _restore(self, processes: Processes) -> list[dict[str, Any]]:
        """Restore the state in the checkpoint, if there is one; return the history so far."""
        folder = self._folder
        saved = processes.share(
            processes.on_first(lambda: None if folder is None else folder.load_checkpoint())
        )
        if saved is not None:
            tensors, plain = saved
            plain = checked_content(plain, CheckpointForm, "the checkpoint")
            with restoring("the checkpoint of the search"):
                self._strategy.load_state_dict(plain["strategy"])
                self._evaluator.load_state_dict(tensors, plain["evaluator"])
            self._scores, self._preparing = plain["scores"], plain["preparing"]
            batch = [] if self._strategy.done else self._strategy.ask()
            if len(self._scores) > max(0, len(batch) - 1):  # the last one is told at once
                raise RunError(
                    f"cannot use the checkpoint: it has {len(self._scores)} scores for a batch of "
                    f"{len(batch)} architectures"
                )
        return [] if folder is None else read_records(folder.path / HISTORY, RecordForm)

    def run(self) -> list[dict[str, Any]]:
        """Search to the end; return the history."""
        self._report()
        while not self._strategy.done:
            self._search_batch()
        return self.history

    def _search_batch(self) -> None:
        """Ask for a batch, score it, and tell the scores.

        After a resume, the strategy gives the batch that it had given before. The evaluator then
        gets only the part of it that has no scores yet.
        """
        clock = _Clock()
        batch = self._strategy.ask()
        strategy_seconds = clock.lap()
        rest = batch[len(self._scores) :]
        for epoch in self._evaluator.prepare(rest):
            self._preparing += clock.lap()
            self._save()
            self._report(epoch=epoch)
            clock.lap()  # saving and reporting are no part of the training's seconds
        for architecture, evaluation in zip(rest, self._evaluations(rest), strict=False):
            seconds, self._preparing = self._preparing + clock.lap(), 0.0
            # Before telling: the record has the stage in which the architecture was proposed.
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

    def _evaluations(self, batch: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield one evaluation for each architecture; one with a lasting score is made once."""
        if not self._evaluator.lasting:
            yield from self._evaluator.evaluate(batch)
            return
        known = self._firsts
        new = [one for one in dict.fromkeys(batch) if one not in known]
        found = iter(self._evaluator.evaluate(new))
        for number, one in enumerate(batch, len(self.history)):
            if one in known:
                score, details = known[one]["score"], {"same_as": known[one]["evaluation"]}
                if "accuracy" in known[one]:
                    details["accuracy"] = known[one]["accuracy"]
                yield Evaluation(score, details)
            else:
                evaluation = next(found)
                known[one] = {**evaluation.details, "evaluation": number, "score": evaluation.score}
                yield evaluation

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
        """Add a record to the history and to the folder, with the new stage if it began one.

        The lines are written before the checkpoint that counts them, see :class:`RunFolder`.
        """
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
        """Write a checkpoint, unless saving would take too large a part of the search's time."""
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
    """Measures the time from one lap to the next."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since the clock was created."""
        before, self.started = self.started, time.perf_counter()
        return self.started - before


def _seconds_left(
    history: Sequence[Mapping[str, Any]], evaluations: int, epoch: Mapping[str, float] | None
) -> float | None:
    """Return the estimated seconds for the rest of the search, None if there is nothing to go by.

    Args:
        history: Records of the evaluations so far; the last ten count.
        evaluations: Number of evaluations that are left.
        epoch: Measurements of the last epoch while a batch is prepared; otherwise None.
    """
    if not history and epoch is None:
        return None
    seen = [own_seconds(record) for record in history[-10:]]
    left = evaluations * statistics.fmean(seen or [0.0])
    if epoch is not None:
        left += (epoch["epochs"] - epoch["epoch"]) * epoch["train_seconds"]
    return left


def search_seconds(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds that a search has taken: evaluating, its strategy, and saving.

    Args:
        history: Its records so far.

    Example:
        >>> search_seconds([{"seconds": 2.0, "strategy_seconds": 0.5, "saving_seconds": 0.25}])
        2.75
    """
    parts = ("seconds", "strategy_seconds", "saving_seconds")
    return math.fsum(record.get(part, 0.0) for record in history for part in parts)


def own_seconds(record: Mapping[str, Any]) -> float:
    """Return the seconds that an evaluation took by itself.

    The ``seconds`` of a record count from the evaluation before it. So the first record of a batch
    includes the training before the batch, and this function leaves it out.

    Args:
        record: A record of the history.

    Example:
        >>> own_seconds({"seconds": 60.5, "valid_seconds": 0.5})
        0.5
    """
    if "valid_seconds" not in record:
        return float(record["seconds"])
    return sum(float(record.get(f"{part}_seconds", 0.0)) for part in ("train", "valid", "proxy"))
