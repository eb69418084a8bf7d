"""``ddpnas frontier``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, new_parser
from ddpnas.cli._run_options import add_request, read_request, refuse_of_a_search
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.generation.best import Generated
from ddpnas.generation.limits import amount
from ddpnas.runs.folder import SHRINK
from ddpnas.runs.run import Run
from ddpnas.shrinking.width_scores import WidthScores, predicted_rise
from ddpnas.space.decisions import DecisionSpace
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.text import csv_text, json_text, plot_text

__all__ = ["COMMANDS"]

_SHOWN = 20  # rows of the table
_PLOTS = (".svg", ".png", ".pdf")


def _frontier_parser() -> ArgumentParser:
    parser = new_parser(
        "list the best network for every budget. The list is the exact trade-off curve.",
        "ddpnas frontier runs/photos --cost macs --out curve.csv",
    )
    add_request(parser)
    parser.add_argument(
        "--cost",
        action="append",
        default=[],
        help="cost to trade against the objective; may be repeated",
    )
    parser.add_argument(
        "--out",
        action="append",
        default=[],
        help="write all points to FILE.csv or FILE.json, or a picture to FILE.svg, .png or .pdf "
        "(one cost); may be repeated",
    )
    add_json(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV")
    return parser


def frontier(options: Namespace) -> None:
    """``ddpnas frontier``."""
    if not options.cost:
        raise OptionError("name the cost to trade against the objective, such as --cost macs")
    paths = [Path(path) for path in options.out]
    for path in paths:
        if path.suffix not in (".csv", ".json", *_PLOTS):
            raise OptionError(f"--out {path} ends neither in .csv or .json nor in .svg, .png, .pdf")
        if path.suffix in _PLOTS and len(options.cost) > 1:
            raise OptionError(f"--out {path} draws one cost, not {len(options.cost)}")
    if (Path(options.run) / SHRINK).is_file():
        curve = _widths_curve(options)
    else:
        task = Run(options.run).task(read_request(options), space=options.space)
        curve = _Curve(
            task.frontier(options.cost), task.space, task.costs, options.objective,
            {"objective": lambda one: one.certificate.objective, "log_prob": lambda o: o.log_prob},
        )  # fmt: skip
    for path in paths:
        _write(path, curve, options.cost)
    if options.json:
        show.as_json(curve.records())
    elif options.csv:
        show.line(curve.csv().rstrip())
    else:
        _show(curve, options.cost)
        for path in paths:
            show.line(f"written: {path}")


def _widths_curve(options: Namespace) -> _Curve:
    """Return the curve of the folder of a shrink."""
    refuse_of_a_search(options, "--cost, --limit, --out, --json and --csv")
    scores = WidthScores.read(options.run)
    found = scores.frontier(options.cost, options.limit)
    columns = {"predicted": predicted_rise}
    return _Curve(found, scores.space, scores.costs, "rise of the loss", columns)


@dataclass(frozen=True)
class _Curve:
    """The best networks for every budget.

    Attributes:
        found: The networks, by rising cost.
        space: Their decisions.
        costs: Cost name -> table.
        judged_by: What they are compared by, in words.
        columns: Name -> figure of a network; they are compared by the first.
    """

    found: Sequence[Generated]
    space: DecisionSpace
    costs: Mapping[str, CostTable]
    judged_by: str
    columns: Mapping[str, Callable[[Generated], float]]

    def value(self, one: Generated) -> float:
        """Return the figure that a network is compared by."""
        return next(iter(self.columns.values()))(one)

    def records(self) -> list[dict[str, Any]]:
        """Return the networks as plain data."""
        return [
            {
                "architecture": dict(one.architecture),
                "text": self.space.format(one.architecture),
                **{name: of(one) for name, of in self.columns.items()},
                "costs": one.costs,
            }
            for one in self.found
        ]

    def csv(self) -> str:
        """Return the networks as CSV."""
        rows = [
            [
                *(one.costs[name] for name in self.costs),
                *(of(one) for of in self.columns.values()),
                self.space.format(one.architecture),
            ]
            for one in self.found
        ]
        return csv_text([*self.costs, *self.columns, "architecture"], rows)


def _write(path: Path, curve: _Curve, traded: Sequence[str]) -> None:
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_atomic(path, json_text(curve.records(), indent=1).encode())
        elif path.suffix == ".csv":
            write_atomic(path, curve.csv().encode())
        else:
            write_atomic(path, _picture(path.suffix[1:], curve, traded[0]))


def _picture(kind: str, curve: _Curve, name: str) -> bytes:
    """Return the curve: the best objective for every budget."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise OptionError(
            'a picture needs matplotlib: pip install "ddpnas[report]", or --out FILE.csv'
        ) from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    budgets = [one.costs[name] for one in curve.found]
    values = [curve.value(one) for one in curve.found]
    axes.step(budgets, values, where="post", linewidth=1)
    axes.plot(budgets, values, "o", markersize=3)
    axes.set_xlabel(plot_text(f"budget: {name} ({curve.costs[name].unit})"))
    axes.set_ylabel(f"best {curve.judged_by}")
    title = f"{len(curve.found)} architectures"
    named = getattr(curve.space, "name", None)
    axes.set_title(plot_text(f"{named}: {title}" if named else title), loc="left")
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def _show(curve: _Curve, traded: Sequence[str]) -> None:
    found = curve.found
    at = sorted({int(i) for i in np.linspace(0, len(found) - 1, _SHOWN).round()})
    names = list(dict.fromkeys([*traded, *curve.costs]))
    rows = [
        [
            *(amount(found[i].costs[name]) for name in names),
            f"{curve.value(found[i]):.4f}",
            curve.space.format(found[i].architecture),
        ]
        for i in at
    ]
    fewer = f", {len(at)} of them shown (all: --out FILE.csv)" if len(at) < len(found) else ""
    heading = next(iter(curve.columns))
    judged = heading if heading == "objective" else curve.judged_by
    both = " and ".join([judged, *traded])
    title = f"{len(found)} architectures that nothing beats in {both}{fewer}"
    show.table([*names, heading, "architecture"], rows, title=title)


COMMANDS: dict[str, Command] = {
    "frontier": (_frontier_parser, frontier),
}
