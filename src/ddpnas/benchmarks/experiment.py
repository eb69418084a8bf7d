"""The experiment: strategies on a table, many seeds, one budget, judged on test accuracy.

A strategy sees the validation accuracy after the table's shortest training. Each evaluation costs
the seconds that the table gives for it, so that a budget in seconds is simulated wall clock; a
table without times takes a budget in evaluations. What is reported is the test accuracy, after
the longest training, of the architecture with the best validation score among those whose
evaluation ended within the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.benchmarks.table import Table
from ddpnas.benchmarks.tables import load_table
from ddpnas.errors import OptionError
from ddpnas.space.user_code import names_file
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.utils.read import parse_yaml
from ddpnas.utils.workers import check_workers, run_tasks

__all__ = [
    "Budget",
    "Contender",
    "Summary",
    "Trial",
    "compare_strategies",
    "run_trial",
    "summarize",
]

GRID = 200  # points of an anytime curve
_CHUNK = 25  # seeds a task of the process pool
_MOST_EVALUATIONS = 1_000_000  # that a strategy takes


@dataclass(frozen=True)
class Contender:
    """A strategy with its options, as it is named in results.

    Attributes:
        label: As it was named, options included.
        strategy: What searches.
        options: Options of the strategy.

    Example:
        >>> Contender.parse("sng:pruning=true:delta=0.5").options
        {'pruning': True, 'delta': 0.5}
    """

    label: str
    strategy: NamedStrategy
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Return the strategy in ``sng:pruning=true:delta=0.5``, or ``mine.py:MyStrategy:beta=2``.

        Raises:
            OptionError: what follows a name is no option, or there is no such file.
        """
        name, *pairs = text.strip().split(":")
        if names_file(name) and pairs and "=" not in pairs[0]:
            name = f"{name}:{pairs.pop(0)}"
        options = {}
        for pair in pairs:
            option, equals, value = pair.partition("=")
            if not equals:
                raise OptionError(f"{pair!r} is not an option; write {name}:option=value")
            options[option.replace("-", "_")] = parse_yaml(value, f"option {option}", OptionError)
        return cls(text.strip(), NamedStrategy.read(name), options)


@dataclass(frozen=True)
class Budget:
    """What a search may spend: simulated seconds, or evaluations.

    Example:
        >>> Budget.parse("12000s"), Budget.parse("60")
        (Budget(amount=12000.0, unit='seconds'), Budget(amount=60.0, unit='evaluations'))
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget in ``12000s`` (seconds) or ``60`` (evaluations)."""
        unit = "seconds" if text.endswith("s") else "evaluations"
        try:
            amount = float(text.removesuffix("s"))
        except ValueError:
            amount = float("nan")
        if not (0 < amount < float("inf")) or (unit == "evaluations" and amount % 1):
            raise OptionError(
                f"the budget is {text!r}; give seconds as 12000s, or evaluations as 60"
            )
        return cls(amount, unit)


@dataclass(frozen=True)
class Trial:
    """One search.

    Attributes:
        strategy: Label of the contender.
        seed: Seed of the strategy.
        evaluations: Evaluations spent within the budget.
        seconds: Seconds spent within the budget.
        test: Test accuracy, in percent, of the architecture chosen by validation.
        recommended: Test accuracy, in percent, of the architecture that the strategy recommends.
        curve: ``test`` at :data:`GRID` equal steps of the budget, NaN before the first score.
    """

    strategy: str
    seed: int
    evaluations: int
    seconds: float
    test: float
    recommended: float
    curve: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """What the seeds of one strategy say; accuracies in percent.

    Attributes:
        strategy: Label of the contender.
        seeds: Number of searches.
        mean: Mean test accuracy of the architectures chosen by validation.
        std: Standard deviation of these accuracies.
        low: Lower end of the 95 % bootstrap confidence interval of the mean.
        high: Upper end of it.
        recommended: Mean test accuracy of the architectures that the strategy recommends.
        evaluations: Mean number of evaluations.
    """

    strategy: str
    seeds: int
    mean: float
    std: float
    low: float
    high: float
    recommended: float
    evaluations: float


def run_trial(
    table: Table, contender: Contender, seed: int, budget: Budget, epochs: int | None = None
) -> Trial:
    """Return one search on the table.

    Args:
        table: The table to search.
        contender: The strategy that searches.
        seed: Seed of the strategy.
        budget: Budget of the search.
        epochs: Training after which the score is taken; default: the shortest of the table.

    Raises:
        OptionError: The budget pays no evaluation, or the table has no such epochs.

    Example:
        >>> table = load_table("nasbench-macro")
        >>> trial = run_trial(table, Contender.parse("random"), 0, Budget.parse("5"))
        >>> trial.evaluations, 80 < trial.test < 94
        (5, True)
    """
    epochs = table.check_epochs(table.epochs[0] if epochs is None else epochs)
    valid, test = table.valid[epochs], table.test[table.epochs[-1]]
    cost = table.seconds.get(epochs)
    paid = cost if budget.unit == "seconds" else None
    options = _options(table, contender, budget, epochs)
    strategy = contender.strategy.create(table.space, seed, **options)
    spent, seconds, evaluations = 0.0, 0.0, 0
    times: list[float] = []
    incumbents: list[float] = []
    best = -np.inf
    while not strategy.done:
        batch = strategy.ask()
        scores = []
        for architecture in batch:
            row = table.row(architecture)
            price = 1.0 if paid is None else float(paid[row])
            if spent + price > budget.amount:
                break
            spent += price
            seconds += 0.0 if cost is None else float(cost[row])
            evaluations += 1
            score = float(valid[row]) / 100.0
            scores.append(score)
            if score > best:
                best = score
                times.append(spent)
                incumbents.append(float(test[row]))
        if len(scores) < len(batch):
            break
        strategy.tell(batch, scores)
    if not incumbents:
        raise OptionError(f"the budget {budget.amount:g} {budget.unit} pays no evaluation")
    at = np.searchsorted(times, budget.amount * np.arange(1, GRID + 1) / GRID, side="right")
    return Trial(
        strategy=contender.label,
        seed=seed,
        evaluations=evaluations,
        seconds=seconds,
        test=incumbents[-1],
        recommended=float(test[table.row(strategy.architecture)]),
        curve=np.array([np.nan, *incumbents])[at],
    )


def _options(table: Table, contender: Contender, budget: Budget, epochs: int) -> dict[str, Any]:
    """Return the contender's options together with the number of evaluations.

    A strategy that only stops there may ask for as many as the budget can pay at most. One that
    plans with the number (its default is None) is told how many the budget pays on average.
    """
    options = dict(contender.options)
    known = contender.strategy.options()
    if "evaluations" not in known:
        return options
    planned = int(budget.amount)
    if budget.unit == "seconds":
        cost = table.seconds[epochs]
        each = float(cost.min() if known["evaluations"] is not None else cost.mean())
        planned = min(max(1, int(budget.amount / each)), _MOST_EVALUATIONS)
    options.setdefault("evaluations", planned)
    return options


def compare_strategies(
    source: tuple[str, str | None, str | Path | None],
    contenders: Sequence[Contender],
    budget: Budget,
    seeds: int,
    *,
    epochs: int | None = None,
    workers: int | None = None,
    executor: str = "local",
    on_progress: Callable[[int, int], object] | None = None,
) -> list[Trial]:
    """Return the trials of all contenders with the seeds 0, 1, ..., in that order.

    Args:
        source: Name, data set and path of the table, as :func:`load_table` takes them.
        contenders: The strategies to compare. Each is created once here, so a wrong option is
            reported before anything runs.
        budget: Budget of each search.
        seeds: Number of searches for each contender.
        epochs: Training after which the score is taken; default: the shortest of the table.
        workers: Number of processes; default: one for each CPU. A script starts them below
            ``if __name__ == "__main__":``.
        executor: "local" or "ray", see :func:`ddpnas.utils.workers.run_tasks`.
        on_progress: Called with the number of searches done and their total.

    Raises:
        OptionError: A strategy, an option, the budget or the table does not fit.
    """
    if seeds < 1:
        raise OptionError("seeds must be at least 1")
    check_workers(workers, executor)
    table = load_table(*source)
    if len(table.rows) < table.space.size:
        raise OptionError(
            f"table {table.name!r} has {len(table.rows):,} of {table.space.size:,} architectures; "
            f"strategies ask for any, so that a comparison needs all"
        )
    if budget.unit == "seconds" and not table.seconds:
        raise OptionError(
            f"table {table.name!r} has no training times; give the budget in evaluations: 60"
        )
    epochs = table.check_epochs(table.epochs[0] if epochs is None else epochs)
    for contender in contenders:
        if issubclass(contender.strategy.made(), GradientStrategy):
            raise OptionError(
                f"{contender.label} trains a mixture of all options, which a table does not have; "
                f"use it in a search: ddpnas search --strategy {contender.label}"
            )
        contender.strategy.create(table.space, 0, **_options(table, contender, budget, epochs))
    chunks = [range(first, min(first + _CHUNK, seeds)) for first in range(0, seeds, _CHUNK)]
    tasks = [(c, list(chunk), budget, epochs) for c in contenders for chunk in chunks]
    trials: list[Trial] = []
    for done in run_tasks(_run_task, source, tasks, workers=workers, executor=executor):
        trials.extend(done)
        if on_progress is not None:
            on_progress(len(trials), seeds * len(contenders))
    return trials


_Source = tuple[str, str | None, str | Path | None]
_Task = tuple[Contender, list[int], Budget, int]


def _run_task(source: _Source, task: _Task) -> list[Trial]:
    contender, seeds, budget, epochs = task
    table = load_table(*source)
    return [run_trial(table, contender, seed, budget, epochs) for seed in seeds]


def summarize(trials: Sequence[Trial], resamples: int = 10_000) -> list[Summary]:
    """Return one summary a strategy, best mean first."""
    summaries = []
    for label in dict.fromkeys(trial.strategy for trial in trials):
        mine = [trial for trial in trials if trial.strategy == label]
        tests = np.array([trial.test for trial in mine])
        rng = np.random.default_rng(0)
        means = [tests[rng.integers(len(tests), size=len(tests))].mean() for _ in range(resamples)]
        low, high = np.quantile(means, [0.025, 0.975])
        summaries.append(
            Summary(
                strategy=label,
                seeds=len(mine),
                mean=float(tests.mean()),
                std=float(tests.std(ddof=1)) if len(mine) > 1 else 0.0,
                low=float(low),
                high=float(high),
                recommended=float(np.mean([trial.recommended for trial in mine])),
                evaluations=float(np.mean([trial.evaluations for trial in mine])),
            )
        )
    return sorted(summaries, key=lambda s: -s.mean)
