"""What several commands print: tables, how options were pruned, and progress."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ddpnas.data.data import Data
from ddpnas.runs import Stage
from ddpnas.runs.loop import Progress, own_seconds
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.training.results import EvaluationResult
from ddpnas.utils.duration import duration
from ddpnas.utils.memory import peak_memory
from ddpnas.utils.text import json_text, printable, printable_lines

__all__ = [
    "LatencyProgress",
    "SearchProgress",
    "TrainProgress",
    "as_json",
    "line",
    "memory",
    "pruning",
    "short_limit",
    "sizes",
    "split",
    "table",
]


_NEVER_WRAPS = 1_000_000  # columns
_LINES = 50  # at most about this many for the evaluations of a search that is not on a terminal
_EPOCHS = 10  # and about this many for the epochs of one training


def console() -> Console:
    """Return a console on standard output.

    If that is not a terminal, lines never wrap: whoever reads a file or a pipe searches in lines.
    """
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_NEVER_WRAPS)


def line(text: str, *, quiet: bool = False) -> None:
    """Print one or several lines unless ``quiet``; names in them cannot control the terminal."""
    if not quiet:
        print(printable_lines(text), flush=True)


def as_json(content: Any, indent: int | None = 1) -> None:
    """Print plain data as JSON."""
    line(json_text(content, indent))


def _text(text: str, style: str = "") -> Text:
    """Return a text for rich, which finds markup and emoji in a plain string."""
    return Text(printable_lines(text), style=style)


def sizes(data: Data) -> str:
    """Return the numbers of classes and images in words."""
    test = f", {len(data.test):,} test" if data.test is not None else ""
    return (
        f"{len(data.classes)} classes, {len(data.train):,} training, {len(data.valid):,} "
        f"validation{test} images"
    )


def split(evaluation: EvaluationResult) -> str:
    """Return the name of the split that was measured, in words."""
    return {"valid": "validation"}.get(evaluation.split, evaluation.split)


def memory() -> str:
    """Return the most memory that this process has used so far, in words."""
    found = f"peak memory {peak_memory() / 1024**2:,.0f} MiB"
    used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return f"{found}, of the GPU {used / 1024**2:,.0f} MiB" if used else found


def short_limit(value: float) -> str:
    """Return a cost as a limit is written, rounded up.

    Example:
        >>> short_limit(490_000), short_limit(1_234_567), short_limit(12)
        ('490K', '1.24M', '12')
    """
    for sign, scale in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= scale:
            return f"{math.ceil(100 * value / scale) / 100:g}{sign}"
    return f"{math.ceil(value)}"


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None
) -> None:
    """Print a table. Columns of numbers, except the first column, are aligned to the right."""
    above = None if title is None else _text(title)
    drawn = Table(title=above, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        numeric = i > 0 and all(re.fullmatch(r"-|[\d.,]+( .{1,12})? ?%?", row[i]) for row in rows)
        drawn.add_column(_text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(_text, row))
    console().print(drawn)


def pruning(distribution: JointDistribution, stages: Sequence[Stage]) -> None:
    """Print how the distribution was pruned.

    Each row is a decision. Each cell is an option with its final probability theta, and with
    "kept" or the stage after which it was pruned.
    """
    drawn = Table(
        title="final theta of each option; s3: pruned after stage 3",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    drawn.add_column("decision")
    width = max(len(d.options) for d in distribution.decisions)
    for _ in range(width):
        drawn.add_column(overflow="fold")
    for decision, row in zip(distribution.decisions, distribution.rows, strict=True):
        cells = []
        for option, theta in zip(decision.options, row, strict=True):
            gone = next(
                (
                    stage.number
                    for stage in stages
                    if option not in stage.distribution.survivors[decision.name]
                ),
                None,
            )
            mark = f"s{gone}" if gone is not None else "kept"
            style = "bold green" if gone is None else "dim"
            cells.append(_text(f"{option} {theta:.2f} {mark}", style))
        drawn.add_row(_text(decision.name), *cells)
    console().print(drawn)


class SearchProgress:
    """Shows a running search: a live display on a terminal, elsewhere some lines.

    Args:
        space: Whose architectures are written in its text form; None writes none.
        evaluator: Name of the evaluator; it decides what an accuracy is called.
        quiet: Whether to print nothing.

    Attributes:
        begun: Whether the search has begun, so that its folder exists.
    """

    def __init__(self, space: DecisionSpace | None, evaluator: str, *, quiet: bool) -> None:
        self.begun = False
        self._judged_by = "accuracy in the table" if evaluator == "table" else "validation accuracy"
        self._space = space
        self._console = console()
        self._live: Live | None = None
        self._quiet = quiet
        if not quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show the progress that :func:`ddpnas.search` reports."""
        self.begun = True
        if self._quiet:
            return
        text = self._text(progress)
        if self._live is None:
            if _is_due(progress):
                line(text)
            return
        drawn = Table(box=None, show_header=False, padding=(0, 1))
        for decision, names in progress.distribution.survivors.items():
            theta = progress.distribution.theta[decision]
            options = next(d.options for d in progress.distribution.decisions if d.name == decision)
            cells = [
                _text(f"{o} {p:.2f}", "green" if o in names else "dim strike")
                for o, p in zip(options, theta, strict=True)
            ]
            drawn.add_row(_text(decision, "bold"), *cells)
        bar = Table.grid()  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=progress.total, completed=progress.done, width=40))
        self._live.update(Group(_text(text), bar, drawn), refresh=True)

    def _text(self, progress: Progress) -> str:
        stage = progress.stage if progress.record is None else progress.record["stage"]
        parts = [f"[{progress.done:3}/{progress.total}] stage {stage + 1}"]
        if progress.record is not None:
            record = progress.record
            if "accuracy" in record:
                parts.append(f"{self._judged_by} {100 * record['accuracy']:.2f} %")
            else:
                parts.append(f"score {record['score']:.4g}")
            if "loss" in record:
                parts.append(f"loss {record['loss']:.3f}")
            parts.append(f"{own_seconds(record):.1f} s{_pace(record)}")
        elif progress.epoch is not None:
            epoch = progress.epoch
            parts.append(
                f"training all options: epoch {epoch['epoch']:.0f} of {epoch['epochs']:.0f}, "
                f"loss {epoch['loss']:.3f}{_pace(epoch)}"
            )
        if progress.seconds_left is not None:
            parts.append(f"time left {duration(progress.seconds_left)}")
        if progress.record is not None and self._space is not None:
            parts.append(self._space.format(progress.record["architecture"]))
        return "  ".join(parts)


def _is_due(progress: Progress) -> bool:
    """Return whether progress gets a line where lines are not renewed."""
    if progress.epoch is not None:
        return _among(progress.epoch["epoch"], progress.epoch["epochs"], _EPOCHS)
    return progress.record is None or _among(progress.done, progress.total, _LINES)


def _among(done: float, total: float, lines: int) -> bool:
    """Return whether a step is the first, the last, or one of about ``lines`` between.

    Example:
        >>> [step for step in range(1, 31) if _among(step, 30, 5)]
        [1, 6, 12, 18, 24, 30]
    """
    return done == 1 or done * lines // total > (done - 1) * lines // total


def _pace(record: Mapping[str, Any]) -> str:
    """Return the training speed, or nothing if it was not recorded."""
    if "train_images" not in record:
        return ""
    return f", {record['train_images'] / record['train_seconds']:,.0f} images/s"


class ProgressLine:
    """A line that is renewed on a terminal; elsewhere, one printed line per completed part.

    Args:
        quiet: Whether to print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = console().is_terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._quiet and self._terminal:
            print()  # what follows begins on a new line

    def show(self, text: str, *, complete: bool = True) -> None:
        """Replace the line on a terminal; elsewhere, print it if it completes a part."""
        if self._quiet:
            return
        if self._terminal:
            print(f"\r\x1b[2K{printable(text)}", end="", flush=True)
        elif complete:
            line(text)


class TrainProgress(ProgressLine):
    """Shows the training of one or several networks.

    Args:
        epochs: Number of epochs of each training.
        quiet: Whether to print nothing.
    """

    def __init__(self, epochs: int, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._epochs, self._started = epochs, time.perf_counter()

    def update(self, name: str, record: Mapping[str, float]) -> None:
        """Show an epoch, as :func:`ddpnas.compare` reports it."""
        parts = [
            f"{name}: epoch {record['epoch']:.0f} of {self._epochs}",
            f"loss {record['loss']:.3f}",
            f"{record['seconds']:.1f} s",
            f"{duration(time.perf_counter() - self._started)} in total",
        ]
        if (valid := record.get("valid_accuracy")) is not None:
            parts.insert(2, f"validation accuracy {100 * valid:.2f} %")
        if (valid := record.get("valid_macro_f1")) is not None:
            parts.insert(3, f"macro-F1 {100 * valid:.2f} %")
        self.show(", ".join(parts), complete=_among(record["epoch"], self._epochs, _EPOCHS))


class LatencyProgress(ProgressLine):
    """Shows how far a round of latency measurements is."""

    def update(self, number: int, done: int, total: int) -> None:
        """Show progress, as :func:`ddpnas.measure_latency` reports it."""
        self.show(f"round {number}: {done} of {total}", complete=done == total)


class RescoreProgress(ProgressLine):
    """Shows how many of the best networks are scored again."""

    def update(self, done: int, total: int) -> None:
        """Show progress, as :meth:`ddpnas.runs.Run.generate` reports it."""
        self.show(f"rescoring: {done} of {total} networks")
