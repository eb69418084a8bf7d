"""What stands on a report's page: the sections of one run or several, without any HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.errors import OptionError, RunError
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import Headline, Section
from ddpnas.report.sections.comparison import comparison_headline, comparison_sections
from ddpnas.report.sections.distribution import distribution_section
from ddpnas.report.sections.effects import effects_section
from ddpnas.report.sections.frontier import frontier_section
from ddpnas.report.sections.headline import headline, trained_headline
from ddpnas.report.sections.history import history_section
from ddpnas.report.sections.latency import latency_section
from ddpnas.report.sections.missing import missing_section
from ddpnas.report.sections.mistakes import mistakes_section
from ddpnas.report.sections.network import (
    network_section,
    trained_network_section,
    untrained_section,
)
from ddpnas.report.sections.reproduce import reproduce_section, trained_reproduce_section
from ddpnas.report.sections.search import search_section
from ddpnas.report.sections.search_time import time_section
from ddpnas.report.sections.shrinking import shrinking_section
from ddpnas.report.sections.skip_connections import skips_section
from ddpnas.report.sections.training import training_section
from ddpnas.runs.folder import RUN, SHRINK, TRAINED
from ddpnas.runs.run import Run
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.text import resume_command

__all__ = ["Page", "RunPart", "make_page", "page_of", "read_runs"]

# In the order of the page: first the answer, then how it came about, then how to repeat it.
_SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    network_section,
    untrained_section,
    search_section,
    history_section,
    distribution_section,
    effects_section,
    frontier_section,
    skips_section,
    training_section,
    mistakes_section,
    latency_section,
    time_section,
    reproduce_section,
    missing_section,
)


@dataclass(frozen=True)
class RunPart:
    """The part of a page about one run."""

    label: str
    headline: Headline
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Page:
    """A page: the sections of one run, or a comparison of several runs followed by each run.

    Attributes:
        headline: Top of the page.
        sections: Sections of the run or of the comparison.
        runs: The compared runs; empty for a single run.
        parts: Every run, whose tables go into the CSV files.
    """

    headline: Headline
    sections: tuple[Section, ...]
    runs: tuple[RunPart, ...]
    parts: tuple[RunPart, ...]


def page_of(
    folders: Sequence[Path],
    *,
    space: str | None = None,
    costs: Sequence[CostTable] = (),
    trained: str | Path | None = None,
    data: Data | None = None,
) -> Page:
    """Return the page about run folders, or about one folder of a shrink or of a training.

    Args:
        folders: At least one.
        space: See :func:`ddpnas.write_report`.
        costs: See :func:`ddpnas.write_report`.
        trained: See :func:`ddpnas.write_report`.
        data: See :func:`ddpnas.write_report`.

    Raises:
        RunError, OptionError: See :func:`ddpnas.write_report`.
    """
    if data is not None and len(folders) > 1:
        raise OptionError("the images are those of one run; leave data out to compare several")
    if len(folders) == 1 and (folders[0] / SHRINK).exists():
        _refuse_unused(f"{folders[0]} is the folder of a shrink", costs=costs, trained=trained)
        return _shrunk_page(folders[0], space, data)
    if len(folders) == 1 and trained is None and not (folders[0] / RUN).exists():
        alone = read_comparison(folders[0])
        if alone is not None:
            _refuse_unused(f"{folders[0]} holds a trained network and no search", costs=costs)
            return _trained_page(TrainedView(alone, space, data))
    runs = read_runs(folders, trained)
    return make_page([View(run, space, costs, data=data) for run in runs])


def _refuse_unused(what: str, **options: object) -> None:
    """Refuse options that only the page about a search uses.

    Args:
        what: What the page is about instead.
        options: Name -> value.
    """
    if unused := [name for name, value in options.items() if value]:
        raise OptionError(f"{what}, whose page does not use {unused[0]}; leave it out")


def make_page(views: Sequence[View]) -> Page:
    """Return the content of the page, without any HTML."""
    parts = tuple(_part(view) for view in views)
    if len(parts) == 1:
        return Page(parts[0].headline, parts[0].sections, (), parts)
    return Page(comparison_headline(views), comparison_sections(views), parts, parts)


def read_runs(folders: Sequence[Path], trained: str | Path | None = None) -> list[Run]:
    """Read runs and give them distinct labels.

    Args:
        folders: Run folders.
        trained: For a single run, the folder of a training other than ``RUN/trained``.

    Raises:
        RunError, OptionError: See :func:`ddpnas.write_report`.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise OptionError("a comparison takes each run once; a run is given twice")
    if trained is not None and len(folders) > 1:
        raise OptionError(
            "--trained is for a single run; a comparison uses RUN/trained of each run"
        )
    return [
        Run(folder, label=label, trained=trained)
        for folder, label in zip(folders, _labels(folders), strict=True)
    ]


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return distinct names for folders without full paths; equal names are numbered."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    ]


def _part(view: View) -> RunPart:
    sections = [section for make in _SECTIONS if (section := make(view)) is not None]
    return RunPart(view.run.label, headline(view), tuple(sections))


def _shrunk_page(folder: Path, space: str | None, data: Data | None) -> Page:
    trained = read_comparison(folder / TRAINED)
    if trained is None:
        raise RunError(f"{folder} is not finished; go on with `{resume_command(folder)}`")
    view = TrainedView(trained, space, data)
    return _single_page(
        folder,
        trained_headline(view),
        [shrinking_section(folder, trained), training_section(view), mistakes_section(view)],
    )


def _trained_page(view: TrainedView) -> Page:
    return _single_page(
        view.trained.path,
        trained_headline(view),
        [
            trained_network_section(view),
            training_section(view),
            mistakes_section(view),
            trained_reproduce_section(view),
        ],
    )


def _single_page(folder: Path, top: Headline, made: Iterable[Section | None]) -> Page:
    """Return the page about one folder, with those of the sections that there are."""
    sections = tuple(section for section in made if section is not None)
    part = RunPart(folder.resolve().name, top, sections)
    return Page(top, sections, (), (part,))
