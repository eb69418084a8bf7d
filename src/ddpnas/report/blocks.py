"""The parts of a report as frozen data: sections of figures, tables, facts and commands.

Tables hold raw numbers. The kind of a column decides how the page writes them; the CSV files are
written from the same rows, with all digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ddpnas.utils.duration import duration

__all__ = [
    "Block",
    "Column",
    "Commands",
    "DataTable",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Headline",
    "Legend",
    "Listing",
    "Section",
    "Thumbnail",
    "Tile",
    "csv_records",
    "percent",
    "written",
]

Kind = Literal["text", "count", "amount", "number", "percent", "seconds", "signed"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Example:
        >>> Column("predicted", "number", "ms").heading
        'predicted (ms)'

    Attributes:
        name: Heading, without the unit.
        kind: How the page writes the values.
        unit: Unit of the raw values.
    """

    name: str
    kind: Kind = "text"
    unit: str = ""

    @property
    def heading(self) -> str:
        """The heading on the page. Values of the kind "seconds" carry their unit themselves."""
        return f"{self.name} ({self.unit})" if self.unit and self.kind != "seconds" else self.name

    @property
    def key(self) -> str:
        """The name of the column in the CSV file, with its unit."""
        name = self.name.replace(" ", "_")
        return f"{name}_{self.unit}" if self.unit else name


@dataclass(frozen=True)
class DataTable:
    """Rows of raw values.

    Attributes:
        name: Name of the CSV file without ``.csv``; None to show the table on the page only.
        caption: What the rows are.
        columns: The columns.
        rows: One tuple of raw values per row; None is an empty cell.
        folded: Whether the page shows the table only on request.
    """

    name: str | None
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Legend:
    """The legend of one series: number of its color, its mark, and what it is."""

    series: int
    mark: str
    text: str


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG text, with caption, legend, and its numbers as a table."""

    svg: str
    caption: str
    legend: tuple[Legend, ...] = ()
    table: DataTable | None = None
    wide: bool = False


@dataclass(frozen=True)
class Thumbnail:
    """A small image: PNG as base64 text, with alternative text and caption."""

    png: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Small images with captions, and their numbers as a table."""

    caption: str
    pictures: tuple[Thumbnail, ...]
    table: DataTable


@dataclass(frozen=True)
class Fact:
    """A name and its value as text, with the raw number if it is one."""

    name: str
    value: str
    raw: float | None = None


@dataclass(frozen=True)
class Facts:
    """A list of names and values."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Commands:
    """Lines to type in a shell."""

    caption: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The text of a file, which the page shows on request."""

    caption: str
    text: str


Block = Figure | DataTable | Gallery | Facts | Commands | Listing


@dataclass(frozen=True)
class Section:
    """A part of the page: some sentences, then blocks."""

    id: str
    title: str
    words: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A number in large type at the top of the page.

    Attributes:
        name: What the number is.
        value: The number as text.
        raw: The number.
        note: Small text below it.
        share: Fraction of the limit that is used, drawn as a bar; None for no bar.
    """

    name: str
    value: str
    raw: float
    note: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Headline:
    """The top of the page: title, status, some sentences, and the most important numbers."""

    title: str
    status: str
    words: tuple[str, ...]
    tiles: tuple[Tile, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with two decimals.

    Example:
        >>> percent(0.7925)
        '79.25 %'
    """
    return f"{100 * fraction:.2f} %"


def short_amount(value: float) -> str:
    """Return a quantity with three or four significant digits.

    Example:
        >>> short_amount(3268032), short_amount(9408)
        ('3.27 M', '9,408')
    """
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= (scale if scale > 1e3 else 1e4):
            digits = 2 if abs(value) < 10 * scale else 1
            return f"{value / scale:.{digits}f} {letter}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def written(value: Any, kind: Kind) -> str:
    """Return a raw value as a table on the page shows it."""
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


def csv_records(table: DataTable, run: str | None) -> list[dict[str, Any]]:
    """Return the rows of a table for its CSV file, led by the name of the run if one is given."""
    first = {} if run is None else {"run": run}
    keys = [column.key for column in table.columns]
    return [
        {**first, **{k: "" if v is None else v for k, v in zip(keys, row, strict=True)}}
        for row in table.rows
    ]
