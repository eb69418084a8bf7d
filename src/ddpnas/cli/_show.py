"""Drawing: tables, the picture of the pruning, progress on a terminal or as plain lines."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ddpnas.data.data import Data
from ddpnas.runs.loop import Progress, own_seconds
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.distribution import JointDistribution

__all__ = ["SearchProgress", "TrainProgress", "duration", "line", "pruning", "sizes", "table"]


def console() -> Console:
    """Return a console on standard output; wide where that is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=160)


def line(text: str, *, quiet: bool = False) -> None:
    """Print a line, unless quiet."""
    if not quiet:
        print(text, flush=True)


def duration(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sizes(data: Data) -> str:
    """Return how many classes and images the data has."""
    test = f", {len(data.test):,} test" if data.test is not None else ""
    return (
        f"{len(data.classes)} classes, {len(data.train):,} training, {len(data.valid):,} "
        f"validation{test} images"
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None
) -> None:
    """Print a table; numbers, but for the first column, to the right."""
    drawn = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        numeric = i > 0 and all(re.fullmatch(r"-|[\d.,]+( .{1,12})? ?%?", row[i]) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console().print(drawn)


def pruning(distribution: JointDistribution, stages: Sequence[Mapping[str, Any]]) -> None:
    """Print how the distribution was pruned.

    A row a decision; for each option its probability theta at the end, and either that it
    survived or the stage at whose end it was pruned.
    """
    drawn = Table(
        title="theta at the end; s3: pruned at the end of stage 3",
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
                (s["stage"] for s in stages if option not in s["survivors"][decision.name]), None
            )
            mark = f"s{gone}" if gone is not None else "kept"
            style = "bold green" if gone is None else "dim"
            cells.append(Text(f"{option} {theta:.2f} {mark}", style=style))
        drawn.add_row(Text(decision.name), *cells)
    console().print(drawn)


class SearchProgress:
    """Shows a search as it goes: a live display on a terminal, else a line an evaluation.

    Attributes:
        begun: whether the search has begun, and its folder with it.
    """

    def __init__(self, space: DecisionSpace | None, *, quiet: bool) -> None:
        self.begun = False
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
        """Take what :func:`ddpnas.search` reports."""
        self.begun = True
        if self._quiet:
            return
        text = self._text(progress)
        if self._live is None:
            print(text, flush=True)
            return
        drawn = Table(box=None, show_header=False, padding=(0, 1))
        for decision, names in progress.distribution.survivors.items():
            theta = progress.distribution.theta[decision]
            options = next(d.options for d in progress.distribution.decisions if d.name == decision)
            cells = [
                Text(f"{o} {p:.2f}", style="green" if o in names else "dim strike")
                for o, p in zip(options, theta, strict=True)
            ]
            drawn.add_row(Text(decision, style="bold"), *cells)
        bar = Table.grid()  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=progress.total, completed=progress.done, width=40))
        self._live.update(Group(Text(text), bar, drawn), refresh=True)

    def _text(self, progress: Progress) -> str:
        stage = progress.stage if progress.record is None else progress.record["stage"]
        parts = [f"[{progress.done:3}/{progress.total}] stage {stage + 1}"]
        if progress.record is not None:
            record = progress.record
            parts.append(f"validation accuracy {100 * record['accuracy']:.2f} %")
            if "loss" in record:
                parts.append(f"loss {record['loss']:.3f}")
            parts.append(f"{own_seconds(record):.1f} s{_pace(record)}")
        elif progress.epoch is not None:
            epoch = progress.epoch
            parts.append(
                f"training all survivors: epoch {epoch['epoch']:.0f} of {epoch['epochs']:.0f}, "
                f"loss {epoch['loss']:.3f}{_pace(epoch)}"
            )
        if progress.seconds_left is not None:
            parts.append(f"left {duration(progress.seconds_left)}")
        if progress.record is not None and self._space is not None:
            parts.append(self._space.format(progress.record["architecture"]))
        return "  ".join(parts)


def _pace(record: Mapping[str, Any]) -> str:
    """Return how many images a second were trained on, where that is known."""
    if "train_images" not in record:
        return ""
    return f", {record['train_images'] / record['train_seconds']:,.0f} images/s"


class TrainProgress:
    """Shows the training of one or several networks, a line an epoch or one that is renewed."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = console()
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._quiet and self._console.is_terminal:
            print()

    def update(self, name: str, record: Mapping[str, float]) -> None:
        """Take what :func:`ddpnas.training.compare.compare` reports."""
        if self._quiet:
            return
        valid = record.get("valid_accuracy")
        text = (
            f"{name}: epoch {record['epoch']:.0f}, loss {record['loss']:.3f}, "
            + (f"validation accuracy {100 * valid:.2f} %, " if valid is not None else "")
            + f"{record['seconds']:.1f} s, {duration(time.perf_counter() - self._started)} in all"
        )
        if self._console.is_terminal:
            print(f"\r\x1b[2K{text}", end="", flush=True)
        else:
            print(text, flush=True)
