"""write_report(): a self-contained page about one run or several, and its numbers as CSV."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from ddpnas._version import __version__
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.errors import OptionError, RunError
from ddpnas.report.blocks import (
    Commands,
    DataTable,
    Facts,
    Figure,
    Gallery,
    Listing,
    Section,
    csv_records,
    written,
)
from ddpnas.report.page import Page, page_of
from ddpnas.report.svg import mark_shape, shade
from ddpnas.runs.folder import REPORT
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.read import read_file
from ddpnas.utils.settings import checks_arguments
from ddpnas.utils.text import csv_text
from ddpnas.utils.text_width import text_width

__all__ = ["csv_files", "page_html", "write_report"]

_ROWS_SHOWN = 2000  # of a table; its CSV file has all
_PADDING, _WRAPS = 20, 140  # pixels: around a cell; a text that may wrap is at least this wide
_MARK = 'name="generator" content="ddpnas'


@checks_arguments
def write_report(
    runs: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    *,
    space: str | None = None,
    costs: Sequence[CostTable] = (),
    trained: str | Path | None = None,
    data: Data | None = None,
) -> Path:
    """Write the report of a run or a training, or a comparison of several runs, as an HTML page.

    The page is a single file without scripts or links to other files. All of its tables are also
    written as CSV, into the folder ``NAME-data`` next to it. The report of an unfinished search
    covers what has been scored so far.

    Example:
        >>> import tempfile, torch, ddpnas
        >>> images, labels = torch.zeros(12, 1, 8, 8, dtype=torch.uint8), torch.arange(12) % 2
        >>> data = ddpnas.make_data((images, labels))
        >>> space = ddpnas.create_space("toy", input_shape=(1, 8, 8), num_classes=2)
        >>> with tempfile.TemporaryDirectory() as run:
        ...     found = ddpnas.search(space, data, "random", out=run, device="cpu",
        ...                           strategy_options={"evaluations": 2},
        ...                           evaluator_options={"warmup_epochs": 1})
        ...     ddpnas.write_report(run).name
        'report.html'

    Args:
        runs: One run folder, or several to compare; or the folder of a shrink, or of a training
            without a search.
        path: File to write; by default ``report.html``, in the run folder if there is only one.
        space: For runs over your own space, its ``file.py:network``. The file is executed only if
            you name it here. Otherwise the page leaves out what needs the networks.
        costs: Tables of further costs (latency, energy, ...). ``latency.json`` in a run folder is
            always used.
        trained: For a single run, the folder of a training other than ``RUN/trained``.
        data: For a single run, its images, if they are in memory. Otherwise they are read again
            to show those that the network gets wrong.

    Returns:
        Path of the page.

    Raises:
        RunError: If a folder is not a run, ``trained`` does not belong to the run, or ``path``
            exists and is not a report.
        OptionError: If there is no run, a run occurs twice, or ``trained`` is given for several
            runs.
    """
    folders = [Path(r) for r in ([runs] if isinstance(runs, (str, Path)) else runs)]
    if not folders:
        raise OptionError("a report needs a run folder")
    if path is None:
        path = folders[0] / REPORT if len(folders) == 1 else REPORT
    path = Path(path)
    if path.is_dir():
        file = shlex.quote(str(path / REPORT))
        raise RunError(f"{path} is a folder; give a file, such as --out {file}")
    if path.exists() and _MARK.encode() not in read_file(path)[:4000]:
        raise RunError(f"{path} is not a report, so ddpnas does not replace it; give another --out")
    page = page_of(folders, space=space, costs=costs, trained=trained, data=data)
    tables = {_file_name(name): text for name, text in csv_files(page).items()}
    folder = path.with_name(f"{path.stem}-data")
    if folder.exists() and not path.exists():
        raise RunError(
            f"{folder} belongs to no report, so ddpnas does not replace it; remove it, or give "
            f"another --out"
        )
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        # First the page: without it, the folder of a killed first report would belong to nobody.
        text = page_html(page, data_folder=folder.name)
        write_atomic(path, text.encode(errors="backslashreplace"))
        folder.mkdir(exist_ok=True)
        for name, text in tables.items():
            write_atomic(folder / f"{name}.csv", text.encode())
        for old in folder.glob("*.csv"):
            if old.stem not in tables:
                old.unlink(missing_ok=True)
    return path


def _file_name(name: str) -> str:
    """Return the name of a table, in which a cost's name may be, with signs that files may have."""
    return re.sub(r'[%/\\:*?"|]', lambda sign: f"%{ord(sign[0]):02X}", name)


def page_html(page: Page, *, data_folder: str = "", live: str = "", policy: str = "") -> str:
    """Return the page as HTML.

    Args:
        page: Content of the page.
        data_folder: Name of the folder with the CSV files; empty if there is none.
        live: HTML for the head of a page that renews itself.
        policy: Further directives for its content security policy.
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
    environment.filters["room"] = _room
    for name, kind in {
        "figure": Figure, "gallery": Gallery, "facts": Facts, "commands": Commands,
        "listing": Listing,
    }.items():  # fmt: skip
        environment.tests[name] = lambda block, kind=kind: isinstance(block, kind)
    style = resources.files("ddpnas.report").joinpath("style.css").read_text(encoding="utf-8")
    sections = [*page.sections, *(section for run in page.runs for section in run.sections)]
    tables = [table for section in sections for table in _section_tables(section)]
    return environment.get_template("page.html.j2").render(
        page=page,
        version=__version__,
        style=style,
        live=live,
        policy=policy,
        data_folder=data_folder,
        rows_shown=_ROWS_SHOWN,
        rooms=sorted({_room(table) for table in tables}),
    )


def _key(mark: str) -> str:
    """Return the sample of a series for a legend."""
    if mark in ("line", "dashed"):
        shape = f'<path class="line {mark}" d="M-8 0H8"/>'
    elif mark.startswith("heat"):
        strength = shade(float(mark.split()[1]))
        place = 'x="-8" y="-6" width="16" height="12"'
        shape = f'<rect class="heat" style="--p:{strength:.2f}" {place}/>'
    else:
        shape = f'<g class="dot">{mark_shape(mark, 4)}</g>'
    return f'<svg viewBox="-9 -6 18 12" aria-hidden="true">{shape}</svg>'


def _command_words(line: str) -> list[str]:
    """Split a command where a line may break: an option stays with its value."""
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


def _room(table: DataTable) -> int:
    """Return how many pixels a table needs; in less, each of its rows is shown as a block.

    Numbers stay on one line, and so do the words of headings. Texts wrap.
    """
    pixels = 0.0
    for at, column in enumerate(table.columns):
        needed = max(map(text_width, column.heading.split()))
        texts = [written(row[at], column.kind)[:30] for row in table.rows[:_ROWS_SHOWN]]
        widest = max(map(text_width, texts), default=0.0)
        pixels += _PADDING + max(needed, widest if column.kind != "text" else min(widest, _WRAPS))
    return 50 * math.ceil(pixels / 50)


def _section_tables(section: Section) -> list[DataTable]:
    tables = [b if isinstance(b, DataTable) else getattr(b, "table", None) for b in section.blocks]
    return [table for table in tables if table is not None]


def _tables_of(sections: Iterable[Section]) -> list[DataTable]:
    """Return every table that gets a CSV file."""
    tables = [table for section in sections for table in _section_tables(section)]
    return [table for table in tables if table.name is not None]


def csv_files(page: Page) -> dict[str, str]:
    """Return the CSV texts by name. A file has the rows of all runs, each led by its run."""
    rows: dict[str, list[dict[str, object]]] = {}
    for part in page.parts:
        for table in _tables_of(part.sections):
            rows.setdefault(str(table.name), []).extend(csv_records(table, part.label))
    if page.runs:
        for table in _tables_of(page.sections):
            rows[str(table.name)] = csv_records(table, None)
    files = {}
    for name, records in rows.items():
        columns = list(dict.fromkeys(column for record in records for column in record))
        files[name] = csv_text(columns, [[one.get(c, "") for c in columns] for one in records])
    return files
