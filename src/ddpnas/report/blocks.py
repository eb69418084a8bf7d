"""What a report is made of: sections of figures, tables, facts and commands, as frozen data.

A number stands here as it is; how it is written on the page is decided by the kind of its column,
and the CSV files are written from the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Block",
    "Column",
    "Commands",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Headline",
    "Legend",
    "Picture",
    "Section",
    "Table",
    "Tile",
    "amount",
    "csv_records",
    "duration",
    "percent",
    "short",
    "written",
]

Kind = Literal["text", "count", "amount", "number", "percent", "seconds", "signed"]


@dataclass(frozen=True)
class Column:
    """One column of a table: heading, how its values are written, and their unit."""

    name: str
    kind: Kind = "text"
    unit: str = ""

    @property
    def key(self) -> str:
        """The column's name in the CSV file, with its unit."""
        name = self.name.replace(" ", "_")
        return f"{name}_{self.unit}" if self.unit else name


@dataclass(frozen=True)
class Table:
    """Rows of values.

    Attributes:
        name: of the CSV file, without its ending; None: on the page only.
        caption: what the rows are.
        columns: of each row.
        rows: raw values; None is an empty cell.
        folded: whether the page shows it only when asked for.
    """

    name: str | None
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Legend:
    """The entry of one series: number of its colour, mark, and what it is."""

    series: int
    mark: str
    text: str


@dataclass(frozen=True)
class Figure:
    """A picture made of text (SVG), what it shows in a sentence, and its numbers."""

    svg: str
    caption: str
    legend: tuple[Legend, ...] = ()
    table: Table | None = None
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """A small image: PNG as base64 text, and what it shows."""

    png: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Small images with their captions."""

    caption: str
    pictures: tuple[Picture, ...]
    table: Table


@dataclass(frozen=True)
class Fact:
    """A name and its value, with the raw number where it is one."""

    name: str
    value: str
    raw: float | None = None


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Commands:
    """Lines to type in a shell."""

    caption: str
    lines: tuple[str, ...]


Block = Figure | Table | Gallery | Facts | Commands


@dataclass(frozen=True)
class Section:
    """A part of the page: what it says in words, then its blocks."""

    id: str
    title: str
    words: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A number that answers the first question, large.

    Attributes:
        name: what it is.
        value, raw: as written, and the number itself.
        note: beneath it.
        share: part of a limit that is used, for a bar; None without.
    """

    name: str
    value: str
    raw: float
    note: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Headline:
    """What the page answers first."""

    title: str
    status: str
    words: tuple[str, ...]
    tiles: tuple[Tile, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return f"{100 * fraction:.2f} %"


def duration(seconds: float) -> str:
    """Return seconds in words of at most two units: ``340 ms``, ``41.3 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def amount(value: float) -> str:
    """Return a quantity with three or four significant digits: ``3.27 M``, ``9,408``."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= (scale if scale > 1e3 else 1e4):
            digits = 2 if abs(value) < 10 * scale else 1
            return f"{value / scale:.{digits}f} {letter}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def written(value: Any, kind: Kind) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "amount":
        return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"
    if kind == "percent":
        return percent(value)
    if kind == "seconds":
        return duration(value)
    if kind == "signed":
        return f"{value:+.3g}"
    if kind == "number":
        return f"{value:.4g}"
    return str(value)


def csv_records(table: Table, run: str | None) -> list[dict[str, Any]]:
    """Return the rows of a table's CSV, numbers in full; the run comes first where one is given."""
    first = {} if run is None else {"run": run}
    keys = [column.key for column in table.columns]
    return [
        {**first, **{k: "" if v is None else v for k, v in zip(keys, row, strict=True)}}
        for row in table.rows
    ]


def short(text: str, most: int) -> str:
    """Return the text, cut to so many characters with a sign that it was."""
    return text if len(text) <= most else text[: most - 1] + "\u2026"
