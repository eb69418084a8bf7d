"""``ddpnas frontier``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, new_parser
from ddpnas.cli._run_options import add_request, read_request
from ddpnas.errors import OptionError
from ddpnas.generation.best import Generated
from ddpnas.generation.limits import amount
from ddpnas.runs.generation_request import GenerationTask
from ddpnas.runs.run import Run
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
    task = Run(options.run).task(read_request(options), space=options.space)
    found = task.frontier(options.cost)
    for path in paths:
        _write(path, found, task, options)
    if options.json:
        show.as_json(_records(found, task))
    elif options.csv:
        show.line(_csv(found, task).rstrip())
    else:
        _show(found, task, options.cost)
        for path in paths:
            show.line(f"written: {path}")


def _records(found: Sequence[Generated], task: GenerationTask) -> list[dict[str, Any]]:
    return [
        {
            "architecture": dict(one.architecture),
            "text": task.space.format(one.architecture),
            "objective": one.certificate.objective,
            "log_prob": one.log_prob,
            "costs": one.costs,
        }
        for one in found
    ]


def _csv(found: Sequence[Generated], task: GenerationTask) -> str:
    columns = [*task.costs, "objective", "log_prob", "architecture"]
    rows = [
        [
            *(one.costs[name] for name in task.costs),
            one.certificate.objective,
            one.log_prob,
            task.space.format(one.architecture),
        ]
        for one in found
    ]
    return csv_text(columns, rows)


def _write(
    path: Path, found: Sequence[Generated], task: GenerationTask, options: Namespace
) -> None:
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_atomic(path, json_text(_records(found, task), indent=1).encode())
        elif path.suffix == ".csv":
            write_atomic(path, _csv(found, task).encode())
        else:
            write_atomic(path, _picture(path.suffix[1:], found, task, options))


def _picture(
    kind: str, found: Sequence[Generated], task: GenerationTask, options: Namespace
) -> bytes:
    """Return the curve: the best objective for every budget."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise OptionError(
            'a picture needs matplotlib: pip install "ddpnas[report]", or --out FILE.csv'
        ) from None
    name = options.cost[0]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    budgets = [one.costs[name] for one in found]
    values = [one.certificate.objective for one in found]
    axes.step(budgets, values, where="post", linewidth=1)
    axes.plot(budgets, values, "o", markersize=3)
    axes.set_xlabel(plot_text(f"budget: {name} ({task.costs[name].unit})"))
    axes.set_ylabel(f"best {options.objective}")
    axes.set_title(plot_text(f"{task.space.name}: {len(found)} architectures"), loc="left")
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def _show(found: Sequence[Generated], task: GenerationTask, traded: Sequence[str]) -> None:
    at = sorted({int(i) for i in np.linspace(0, len(found) - 1, _SHOWN).round()})
    names = list(dict.fromkeys([*traded, *task.costs]))
    rows = [
        [
            *(amount(found[i].costs[name]) for name in names),
            f"{found[i].certificate.objective:.4f}",
            task.space.format(found[i].architecture),
        ]
        for i in at
    ]
    fewer = f", {len(at)} of them shown (all: --out FILE.csv)" if len(at) < len(found) else ""
    traded_with = " and ".join(traded)
    title = f"{len(found)} architectures that nothing beats in objective and {traded_with}{fewer}"
    show.table([*names, "objective", "architecture"], rows, title=title)


COMMANDS: dict[str, Command] = {
    "frontier": (_frontier_parser, frontier),
}
