"""Numbers that a report computes from what a run holds: time, skip connections, costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.report.data import Run
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.space.distribution import JointDistribution

__all__ = [
    "Point",
    "SkipCount",
    "SkipStage",
    "is_skip",
    "pruned_after",
    "random_points",
    "skip_count",
    "skip_stages",
    "time_spent",
]

_SKIP = re.compile(r"skip|identity", re.IGNORECASE)
_DRAWS = 2000


def time_spent(run: Run) -> dict[str, float]:
    """Return the seconds of the search by what they were spent on.

    Trainings that ran at the same time, on several workers, count for as long as they were waited
    for.
    """

    def total(name: str) -> float:
        return math.fsum(record.get(name, 0.0) for record in run.history)

    evaluating, validation = total("seconds"), total("valid_seconds")
    training = min(total("train_seconds"), evaluating - validation)
    if not any("train_seconds" in record for record in run.history):
        training = evaluating - validation  # all weights together, before the scores
    return {
        "training": training,
        "validation": validation,
        "strategy": total("strategy_seconds"),
        "saving": total("saving_seconds"),
        "other": max(0.0, evaluating - validation - training),
    }


def pruned_after(run: Run, decision: str, option: str) -> int | None:
    """Return after which stage the option was pruned, None for a survivor."""
    for stage in run.stages:
        if option not in stage.distribution.survivors[decision]:
            return stage.number
    return None


def is_skip(option: str) -> bool:
    """Return whether the option passes its input on as it is, by its name."""
    return _SKIP.search(option) is not None


def _with_skip(space: DecisionSpace) -> list[tuple[int, Decision, int]]:
    """Return (index of decision, decision, index of its skip) of the decisions that have one."""
    return [
        (i, decision, next(k for k, option in enumerate(decision.options) if is_skip(option)))
        for i, decision in enumerate(space.decisions)
        if any(map(is_skip, decision.options))
    ]


@dataclass(frozen=True)
class SkipStage:
    """Skip connections after a stage, beside what pruning at random would leave.

    Attributes:
        stage: number of prunings.
        expected: number of skip connections in a network drawn from what survives.
        uniform: the same under equal probabilities of all options.
        surviving: decisions whose skip connection was not pruned.
        by_chance: how many that would be on average if pruning were random.
        spread: standard deviation of that number.
        decisions: how many offer a skip connection.
    """

    stage: int
    expected: float
    uniform: float
    surviving: int
    by_chance: float
    spread: float
    decisions: int


def skip_stages(run: Run) -> list[SkipStage]:
    """Return the skip connections after each stage; empty where no option is one by its name."""
    offered = _with_skip(run.space)
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
    """Skip connections of the found architecture, beside random ones that obey the same rules.

    ``low`` and ``high`` enclose 90 % of ``draws`` random ones, ``mean`` is theirs.
    """

    found: int
    mean: float
    low: float
    high: float
    draws: int


def skip_count(space: DecisionSpace, architecture: Mapping[str, str]) -> SkipCount:
    """Return how many skip connections the architecture has, and how many random ones have."""
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
    """An architecture by what it costs and how likely it is."""

    text: str
    costs: Mapping[str, float]
    log_prob: float


def random_points(
    space: DecisionSpace,
    distribution: JointDistribution,
    costs: Mapping[str, CostTable],
    number: int = 150,
) -> list[Point]:
    """Return random architectures that obey the rules, each network once."""
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
    """Return mean and sample standard deviation (0 of a single value)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
