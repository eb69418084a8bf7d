"""``ddpnas report`` and ``ddpnas watch``."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli.options import Command, new_parser
from ddpnas.report import write_report

__all__ = ["COMMANDS"]


def _report_parser() -> ArgumentParser:
    parser = new_parser("one page about a run, finished or not, or a comparison of several")
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument(
        "--out", help="the HTML file; default: RUN/report.html, of several report.html"
    )
    _add_own_space(parser)
    return parser


def _add_own_space(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--space",
        help="of a run over your own space: the file, once more, for costs and predictions",
    )


def report(options: Namespace) -> None:
    """``ddpnas report``."""
    path = write_report(options.runs, options.out, space=options.space)
    print(f"report: {path}")
    print(f"its numbers: {path.with_name(f'{path.stem}-data')}/*.csv")


COMMANDS: dict[str, Command] = {
    "report": (_report_parser, report),
}
