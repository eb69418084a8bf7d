"""``ddpnas report`` and ``ddpnas watch``."""

from __future__ import annotations

import contextlib
from typing import Annotated

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_costs, add_own_space, new_parser
from ddpnas.costs.table import CostTable
from ddpnas.report.html import write_report
from ddpnas.report.watch import Watch
from ddpnas.utils.shapes import Range

__all__ = ["COMMANDS"]


def _report_parser() -> ArgumentParser:
    parser = new_parser(
        "write a page about a run, or compare several runs. A run need not be finished."
    )
    parser.add_argument("runs", nargs="+", help="run folders, or the folder of a trained network")
    parser.add_argument(
        "--out",
        help="HTML file to write; default: RUN/report.html, or report.html for several runs",
    )
    add_costs(parser)
    parser.add_argument(
        "--trained",
        help="for one run: the folder that `ddpnas train --out` wrote, if not RUN/trained",
    )
    add_own_space(parser)
    return parser


def report(options: Namespace) -> None:
    """``ddpnas report``."""
    tables = [CostTable.load(path) for path in options.costs]
    path = write_report(
        options.runs, options.out, space=options.space, costs=tables, trained=options.trained
    )
    show.line(f"report: {path}")
    show.line(f"tables: {path.with_name(f'{path.stem}-data')}/*.csv")


def _watch_parser() -> ArgumentParser:
    parser = new_parser("serve the report of a running search to your browser")
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument(
        "--port",
        type=Annotated[int, Range(0, 65_535)],
        default=8000,
        help="port on 127.0.0.1; 0 for any free one",
    )
    add_own_space(parser)
    return parser


def watch(options: Namespace) -> None:
    """``ddpnas watch``."""
    server = Watch(options.runs, options.port, options.space)
    with contextlib.suppress(KeyboardInterrupt):
        show.line(f"open {server.address} in a browser; stop with Ctrl-C")
        server.serve()


COMMANDS: dict[str, Command] = {
    "report": (_report_parser, report),
    "watch": (_watch_parser, watch),
}
