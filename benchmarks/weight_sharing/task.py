"""What all methods of the experiment share: the proxy, its speed, and the truth."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from torch.nn import functional

from ddpnas import Architecture, SearchSpace
from ddpnas.benchmarks.table import Table
from ddpnas.data import Data, Loader, SieveConfig
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator

__all__ = [
    "Outcome",
    "Plan",
    "Speed",
    "Stopwatch",
    "Task",
    "distinct_cells",
    "measure_speed",
    "rank_correlation",
    "test_accuracy",
]

Score = Callable[[Sequence[Architecture]], list[float]]


@dataclass(frozen=True)
class Plan:
    """How "fair-stages" and "prior" divide their time.

    Attributes:
        passes: Passes over all options before the first scores; None: as the time allows.
        cycles_per_stage: T; all of a stage are scored with the same weights.
        keep: survivors of each decision at which pruning stops.
        finalists: architectures that are trained alone at the end, 0 for none.
        finalist_share: of the time.
        prior_cycles: of the stage of "prior", scored untrained.
    """

    passes: int | None
    cycles_per_stage: int
    keep: int
    finalists: int
    finalist_share: float
    prior_cycles: int


@dataclass(frozen=True)
class Task:
    """One search to be done.

    Attributes:
        space: the proxy.
        data: its images; the test split is not used.
        table: the truth, for the verdict alone.
        seconds: processor seconds that a search may take.
        seed: of the search.
        judged: networks of the rank correlation.
        supernet: how shared weights are trained, apart from what a method decides.
        plan: of "fair-stages" and "prior".
        standalone_epochs: of each network of the random search.
        sieve: which images train and score, in "fair-stages" and "paper".
    """

    space: SearchSpace
    data: Data
    table: Table
    seconds: float
    seed: int
    judged: Sequence[Architecture]
    supernet: SupernetConfig
    plan: Plan
    standalone_epochs: int
    sieve: SieveConfig = field(default_factory=SieveConfig)


@dataclass(frozen=True)
class Outcome:
    """What a method found.

    Attributes:
        architecture: the network it would train.
        tau: Kendall's rank correlation of its score with the table over ``Task.judged``;
            None where it has no score for any network.
        details: whatever else is worth keeping.
    """

    architecture: Architecture
    tau: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Stopwatch:
    """Processor seconds of this process, with breaks for what is not part of a search."""

    def __init__(self) -> None:
        self._start = time.process_time()
        self._break = 0.0

    @property
    def seconds(self) -> float:
        """Spent since the start, without breaks."""
        return time.process_time() - self._start - self._break

    def pause(self, work: Callable[[], Any]) -> Any:
        """Return what the work gives; its time does not count."""
        before = time.process_time()
        result = work()
        self._break += time.process_time() - before
        return result


def distinct_cells(space: SearchSpace, n: int, seed: int) -> list[Architecture]:
    """Return n different architectures, drawn uniformly."""
    rng = np.random.default_rng(seed)
    found: dict[str, Architecture] = {}
    while len(found) < n:
        architecture = space.sample(rng)
        found[space.format(architecture)] = architecture
    return list(found.values())


def rank_correlation(task: Task, score: Score) -> float:
    """Return Kendall's tau of the score with the table's final test accuracy."""
    truth = [test_accuracy(task.table, a) for a in task.judged]
    return float(kendalltau(score(task.judged), truth).statistic)


@dataclass(frozen=True)
class Speed:
    """Processor seconds of a random path: trained on all training images, scored once."""

    train: float
    score: float


def measure_speed(task: Task, paths: Sequence[Architecture] = ()) -> Speed:
    """Return how fast paths of the proxy are (by default ten random ones), on two batches."""
    evaluator = SupernetEvaluator(task.space, task.data, 1, task.supernet, seed=0)
    paths = paths or distinct_cells(task.space, 10, seed=0)
    training = Loader(task.data, [task.data.train], evaluator.device)
    size = training.batch_size(task.supernet.batch_size)
    batches = list(itertools.islice(training.train_batches(size, seed=0), 2))
    train = 0.0
    for path in paths:
        evaluator.supernet.set_path(path)
        evaluator.supernet.train()
        for inputs, labels in batches:
            before = time.process_time()
            loss = functional.cross_entropy(evaluator.supernet(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            train += time.process_time() - before
    evaluator.rescore(paths[:1])  # with proxies, the first score sets the scale
    before = time.process_time()
    for path in paths[:3]:
        evaluator.rescore([path])
    score = (time.process_time() - before) / 3
    return Speed(train / len(paths) / (2 * size) * len(training), score)


def test_accuracy(table: Table, architecture: Mapping[str, str]) -> float:
    """Return the test accuracy after the table's longest training, in percent."""
    return 100 * table.query(architecture, table.epochs[-1]).test
