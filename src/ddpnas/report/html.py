"""write_report(): one self-contained page about one run or several, and its numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ddpnas._version import __version__
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, RunError
from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Commands,
    Facts,
    Figure,
    Gallery,
    Headline,
    Section,
    Table,
    csv_records,
    written,
)
from ddpnas.report.data import Run, read_run
from ddpnas.report.sections import frontier as section_frontier
from ddpnas.report.sections import network as sections_network
from ddpnas.report.sections import search as sections_search
from ddpnas.report.sections.comparison import comparison, comparison_headline
from ddpnas.report.sections.distribution import distribution
from ddpnas.report.sections.latency import latency
from ddpnas.report.sections.mistakes import mistakes
from ddpnas.report.sections.reproduce import missing, reproduce
from ddpnas.report.sections.training import training
from ddpnas.report.svg import mark_shape, shade
from ddpnas.utils.files import writable, write_atomic

__all__ = ["Page", "RunPart", "csv_files", "make_page", "page_html", "read_runs", "write_report"]

_ROWS_SHOWN = 2000  # of a table; its CSV file has all
_MARK = 'name="generator" content="ddpnas'


@dataclass(frozen=True)
class RunPart:
    """All that the page says of one run."""

    label: str
    headline: Headline
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Page:
    """A whole page: of one run its own sections, of several the comparison and then each."""

    headline: Headline
    sections: tuple[Section, ...]
    runs: tuple[RunPart, ...]
    parts: tuple[RunPart, ...]


def write_report(
    runs: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    *,
    space: str | None = None,
    costs: Sequence[CostTable] = (),
    trained: str | Path | None = None,
) -> Path:
    """Write the report of a run, or the comparison of several, and return its path.

    One HTML file that needs nothing else, and beside it the folder ``NAME-data`` with every table
    as CSV. A search that still runs is reported as far as it is.

    Args:
        runs: a run folder or several.
        path: of the page; default ``report.html``, in the folder of a single run.
        space: for runs over a user's own space, its ``file.py:network``: a file is executed only
            because the user names it. Without it, what needs the networks is left out.
        costs: tables of further costs (latency, energy, ...), beside ``latency.json`` of the
            run folder.
        trained: of a single run, the folder of a training other than ``RUN/trained``.

    Raises:
        RunError: a folder holds no run, ``trained`` is no training of the run's, or ``path``
            holds something else than a report.
        OptionError: no run, the same one twice, or ``trained`` with several runs.
    """
    folders = [Path(r) for r in ([runs] if isinstance(runs, (str, Path)) else runs)]
    if path is None:
        path = folders[0] / "report.html" if len(folders) == 1 else "report.html"
    path = Path(path)
    views = [View(run, space, costs) for run in read_runs(folders, trained)]
    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file, such as --out {path / 'report.html'}")
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace")[:4000]:
        raise RunError(f"{path} is not a report of ddpnas and is kept; give another --out")
    page = make_page(views)
    tables = csv_files(page)
    data = path.with_name(f"{path.stem}-data")
    if data.exists() and not path.exists():
        raise RunError(f"{data} is not a report's and is kept; give another --out")
    with writable(path.parent):
        data.mkdir(parents=True, exist_ok=True)
        for old in data.glob("*.csv"):
            old.unlink()
        for name, text in tables.items():
            write_atomic(data / f"{name}.csv", text.encode())
        write_atomic(path, page_html(page, data_folder=data.name).encode())
    return path


def read_runs(folders: Sequence[Path], trained: str | Path | None = None) -> list[Run]:
    """Return the runs with labels that tell them apart.

    Args:
        folders: of the runs.
        trained: of a single run, see :func:`read_run`.
    """
    if not folders:
        raise OptionError("a report needs a run folder")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise OptionError("a comparison takes each run once")
    if trained is not None and len(folders) > 1:
        raise OptionError("a training is named for a single run; a comparison takes RUN/trained")
    names = [folder.resolve().name for folder in folders]
    return [
        read_run(folder, name if names.count(name) == 1 else str(folder), trained)
        for folder, name in zip(folders, names, strict=True)
    ]


def make_page(views: Sequence[View]) -> Page:
    """Return what the page says, without any HTML."""
    parts = tuple(_part(view) for view in views)
    if len(parts) == 1:
        return Page(parts[0].headline, parts[0].sections, (), parts)
    return Page(comparison_headline(views), comparison(views), parts, parts)


def _part(view: View) -> RunPart:
    sections = [
        sections_network.network(view),
        sections_search.searched(view),
        sections_search.accuracy(view),
        distribution(view),
        sections_search.effects(view),
        section_frontier.frontiers(view),
        sections_search.skips(view),
        training(view),
        mistakes(view),
        latency(view),
        sections_search.time(view),
        reproduce(view),
        missing(view),
    ]
    there = tuple(section for section in sections if section is not None)
    return RunPart(view.run.label, sections_network.headline(view), there)


def page_html(page: Page, *, data_folder: str = "", live: str = "", policy: str = "") -> str:
    """Return the page as HTML.

    Args:
        page: what it says.
        data_folder: name of the folder with the CSV files; empty where there is none.
        live: what a page that renews itself has in its head.
        policy: further directives of its content security policy.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ddpnas.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["written"] = written
    environment.filters["key"] = _key
    environment.filters["words"] = _command_words
    for name, kind in {
        "figure": Figure, "gallery": Gallery, "facts": Facts, "commands": Commands,
    }.items():  # fmt: skip
        environment.tests[name] = lambda block, kind=kind: isinstance(block, kind)
    style = resources.files("ddpnas.report").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        page=page,
        version=__version__,
        style=style,
        live=live,
        policy=policy,
        data_folder=data_folder,
        rows_shown=_ROWS_SHOWN,
    )


def _key(mark: str) -> str:
    """Return the small picture of a series in a legend."""
    if mark in ("line", "dashed"):
        shape = f'<path class="line {mark}" d="M-8 0H8"/>'
    elif mark.startswith("heat"):
        strength = shade(float(mark.split()[1]))
        place = 'x="-8" y="-6" width="16" height="12"'
        shape = f'<rect class="heat" style="--p:{strength:.2f}" {place}/>'
    elif mark == "block":
        shape = '<rect class="slice" x="-6" y="-6" width="12" height="12"/>'
    else:
        shape = f'<g class="dot">{mark_shape(mark, 4)}</g>'
    return f'<svg viewBox="-9 -6 18 12" aria-hidden="true">{shape}</svg>'


def _command_words(line: str) -> list[str]:
    """Return a command in the parts between which it may be broken: an option with its value."""
    parts: list[str] = []
    for word in line.split(" "):
        if (
            parts
            and not word.startswith("--")
            and parts[-1].startswith("--")
            and " " not in parts[-1]
        ):
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def tables_of(sections: Iterable[Section]) -> list[Table]:
    """Return every table that is kept as CSV."""
    tables = []
    for section in sections:
        for block in section.blocks:
            table = block if isinstance(block, Table) else getattr(block, "table", None)
            if table is not None and table.name is not None:
                tables.append(table)
    return tables


def csv_files(page: Page) -> dict[str, str]:
    """Return the CSV texts by name; the rows of all runs in one file, the run in each row."""
    rows: dict[str, list[dict[str, object]]] = {}
    for part in page.parts:
        for table in tables_of(part.sections):
            rows.setdefault(str(table.name), []).extend(csv_records(table, part.label))
    if page.runs:
        for table in tables_of(page.sections):
            rows[str(table.name)] = csv_records(table, None)
    files = {}
    for name, records in rows.items():
        text = io.StringIO()
        columns = list(dict.fromkeys(column for record in records for column in record))
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(records)
        files[name] = text.getvalue()
    return files
