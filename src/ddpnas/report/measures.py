"""Numbers that a report computes from a run: time, stages, skip connections, costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.runs.run import Run
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.space.distribution import JointDistribution

__all__ = [
    "SPLIT_NAMES",
    "Point",
    "SkipCount",
    "SkipStage",
    "StageMean",
    "is_skip",
    "mean_and_spread",
    "pruned_after",
    "random_points",
    "skip_count",
    "skip_stages",
    "stage_means",
    "time_spent",
]

SPLIT_NAMES = {"test": "test", "valid": "validation", "train": "training"}
_SKIP = re.compile(r"skip|identity", re.IGNORECASE)
_DRAWS = 2000


def time_spent(run: Run) -> dict[str, float]:
    """Return the seconds of the search by activity.

    If several workers trained at the same time, the time counts once, as it passed.
    """

    def total(name: str) -> float:
        return math.fsum(record.get(name, 0.0) for record in run.history)

    evaluating, validation = total("seconds"), total("valid_seconds")
    training = min(total("train_seconds"), evaluating - validation)
    if not any("train_seconds" in record for record in run.history):
        # A supernet trains all weights together before it scores: no record has its own time.
        training = evaluating - validation
    return {
        "training": training,
        "validation": validation,
        "strategy": total("strategy_seconds"),
        "saving": total("saving_seconds"),
        "other": max(0.0, evaluating - validation - training),
    }


@dataclass(frozen=True)
class StageMean:
    """The mean accuracy or score of a stage.

    Attributes:
        stage: Number of prunings before it, 0 for the first.
        start, end: Its evaluations, from ``start`` to before ``end``.
        mean: Mean of what the search judged by; not finite if a training diverged.
    """

    stage: int
    start: int
    end: int
    mean: float


def stage_means(run: Run) -> list[StageMean]:
    """Return the mean accuracy or score of each stage, in order."""
    means, measures = [], run.measures
    for stage, records in groupby(enumerate(run.history), key=lambda pair: pair[1]["stage"]):
        members = [i for i, _ in records]
        mean = math.fsum(measures[i] for i in members) / len(members)
        means.append(StageMean(stage, members[0], members[-1] + 1, mean))
    return means


def pruned_after(run: Run, decision: str, option: str) -> int | None:
    """Return the stage after which an option was pruned, None for a survivor."""
    for stage in run.stages:
        if option not in stage.distribution.survivors[decision]:
            return stage.number
    return None


def is_skip(option: str) -> bool:
    """Return whether an option is a skip connection, judged by its name.

    Example:
        >>> is_skip("skip_connect"), is_skip("conv3")
        (True, False)
    """
    return _SKIP.search(option) is not None


def _with_skip(space: DecisionSpace) -> list[tuple[int, Decision, int]]:
    """Return (index, decision, index of its skip option) for each decision that has one."""
    return [
        (i, decision, next(k for k, option in enumerate(decision.options) if is_skip(option)))
        for i, decision in enumerate(space.decisions)
        if any(map(is_skip, decision.options))
    ]


@dataclass(frozen=True)
class SkipStage:
    """Skip connections after a stage, and what random pruning would have left.

    Attributes:
        stage: Number of prunings so far.
        expected: Mean number of skip connections in a network drawn from the survivors.
        uniform: The same if all options were equally probable.
        surviving: Number of decisions that still offer a skip connection.
        by_chance: Mean of that number if pruning were random.
        spread: Standard deviation of that number if pruning were random.
        decisions: Number of decisions that offered a skip connection at the start.
    """

    stage: int
    expected: float
    uniform: float
    surviving: int
    by_chance: float
    spread: float
    decisions: int


def skip_stages(run: Run) -> list[SkipStage]:
    """Return the skip connections after each stage; empty if no option is called like one."""
    offered = _with_skip(run.decision_space)
    if not offered:
        return []
    uniform = math.fsum(1 / len(decision.options) for _, decision, _ in offered)
    result = []
    for stage in run.stages:
        expected = by_chance = variance = 0.0
        surviving = 0
        for i, decision, skip in offered:
            row, alive = stage.distribution.rows[i], stage.distribution.alive[i]
            left = float(row[alive].sum())
            if alive[skip]:
                surviving += 1
                expected += float(row[skip]) / left if left > 0 else 1 / float(alive.sum())
            chance = float(alive.sum()) / len(decision.options)
            by_chance += chance
            variance += chance * (1 - chance)
        result.append(
            SkipStage(
                stage.number,
                expected,
                uniform,
                surviving,
                by_chance,
                math.sqrt(variance),
                len(offered),
            )
        )
    return result


@dataclass(frozen=True)
class SkipCount:
    """Skip connections of an architecture, and of random ones that obey the same rules.

    Attributes:
        found: Number in the architecture.
        mean: Mean number in random architectures.
        low, high: 90 % of the random architectures have a number in this range.
        draws: Number of random architectures.
    """

    found: int
    mean: float
    low: float
    high: float
    draws: int


def skip_count(space: DecisionSpace, architecture: Mapping[str, str]) -> SkipCount:
    """Count the skip connections of an architecture and of random ones."""
    rng = np.random.default_rng(0)
    counts = [sum(is_skip(option) for option in space.sample(rng).values()) for _ in range(_DRAWS)]
    low, high = np.quantile(counts, [0.05, 0.95])
    return SkipCount(
        found=sum(is_skip(option) for option in architecture.values()),
        mean=float(np.mean(counts)),
        low=float(low),
        high=float(high),
        draws=_DRAWS,
    )


@dataclass(frozen=True)
class Point:
    """An architecture in text form, with its costs and its log probability."""

    text: str
    costs: Mapping[str, float]
    log_prob: float


def random_points(
    space: DecisionSpace,
    distribution: JointDistribution,
    costs: Mapping[str, CostTable],
    number: int = 150,
) -> list[Point]:
    """Return up to ``number`` random architectures that obey the rules, each network once."""
    rng = np.random.default_rng(0)
    drawn = {space.canonical(space.sample(rng)): None for _ in range(number)}
    return [
        Point(
            space.format(architecture),
            {name: table.cost(architecture) for name, table in costs.items()},
            distribution.log_prob(architecture),
        )
        for architecture in drawn
    ]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, which is 0 for a single value.

    Example:
        >>> mean_and_spread([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
