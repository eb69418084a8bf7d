"""What an experiment leaves on disk: CSV files, the configuration, and the regret plot."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpnas.benchmarks.experiment import GRID, Budget, Summary, Trial
from ddpnas.benchmarks.table import Table
from ddpnas.errors import OptionError
from ddpnas.utils.environment import environment
from ddpnas.utils.files import write_atomic
from ddpnas.utils.text import csv_text, plot_text

__all__ = ["EXPERIMENT", "can_plot", "plot_regret", "write_results"]

EXPERIMENT = "experiment.json"


def write_results(
    folder: Path,
    table: Table,
    budget: Budget,
    trials: Sequence[Trial],
    summaries: Sequence[Summary],
    about: Mapping[str, Any],
) -> None:
    """Write ``trials.csv``, ``summary.csv``, ``regret.csv``, the plot and ``experiment.json``.

    The last one marks a folder that holds a benchmark: it is removed first and written last. There
    is a plot if matplotlib is installed.

    Args:
        folder: Folder for the files; it exists.
        table: The table that was searched.
        budget: Budget of each search.
        trials: All trials.
        summaries: Summaries of the trials.
        about: The request, written to ``experiment.json`` with the versions.
    """
    (folder / EXPERIMENT).unlink(missing_ok=True)
    columns = ["strategy", "seed", "evaluations", "seconds", "test", "recommended"]
    rows = [[getattr(trial, column) for column in columns] for trial in trials]
    _write_csv(folder / "trials.csv", columns, rows)
    fields = [field.name for field in dataclasses.fields(Summary)]
    _write_csv(folder / "summary.csv", fields, [list(dataclasses.astuple(s)) for s in summaries])
    curves = regrets(table, trials)
    spent = budget.amount * np.arange(1, GRID + 1) / GRID
    _write_csv(
        folder / "regret.csv",
        [budget.unit, *curves],
        [
            [float(x), *map(float, row)]
            for x, row in zip(spent, zip(*curves.values(), strict=True), strict=True)
        ],
    )
    if can_plot():
        plot_regret(folder / "regret.png", table, budget, trials)
    figures = [dataclasses.asdict(s) for s in summaries]
    record = {**about, "summary": figures, **environment("numpy", "scipy")}
    write_atomic(folder / EXPERIMENT, (json.dumps(record, indent=1) + "\n").encode())


def regrets(table: Table, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Return by strategy the mean regret over the budget: the best test accuracy minus ours.

    In percentage points; NaN as long as a seed has no score.
    """
    best = float(table.test[table.epochs[-1]].max())
    labels = dict.fromkeys(trial.strategy for trial in trials)
    return {
        label: (best - np.mean([t.curve for t in trials if t.strategy == label], axis=0)).tolist()
        for label in labels
    }


def can_plot() -> bool:
    """Return whether the extra ``report`` is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_regret(path: Path, table: Table, budget: Budget, trials: Sequence[Trial]) -> None:
    """Draw the mean regret of each strategy over what was spent.

    Raises:
        OptionError: matplotlib is not installed.
    """
    if not can_plot():
        raise OptionError("a plot needs the package matplotlib: pip install 'ddpnas[report]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    spent = budget.amount * np.arange(1, GRID + 1) / GRID
    for label, curve in regrets(table, trials).items():
        axes.plot(spent, curve, label=plot_text(label))
    axes.set_yscale("log")
    unit = "simulated seconds" if budget.unit == "seconds" else "evaluations"
    axes.set_xlabel(unit)
    axes.set_ylabel("mean test regret (percentage points)")
    axes.set_title(plot_text(f"{table.name}, {table.dataset}"))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    write_atomic(path, stream.getvalue())


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    write_atomic(path, csv_text(header, rows).encode())
