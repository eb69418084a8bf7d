"""``ddpnas benchmark``: compare strategies on a table of trained networks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ddpnas.benchmarks.experiment import Budget, Contender, Summary, compare_strategies, summarize
from ddpnas.benchmarks.results import EXPERIMENT, can_plot, write_results
from ddpnas.benchmarks.table import Table
from ddpnas.benchmarks.tables import list_tables, load_table
from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, new_parser
from ddpnas.errors import OptionError, RunError
from ddpnas.utils.files import LOCK, lock, writable
from ddpnas.utils.settings import Count, Epochs, Workers

__all__ = ["COMMANDS"]


def _benchmark_parser() -> ArgumentParser:
    parser = new_parser(
        "compare strategies on a table of trained networks",
        "ddpnas benchmark nasbench201 --strategies ddpnas,random --seeds 100",
    )
    parser.add_argument("name", help=f"{' or '.join(list_tables())}, or any name with --table")
    parser.add_argument("--table", help="your own table, a .npz file")
    parser.add_argument("--dataset", help="data set of the table; default: its first")
    parser.add_argument(
        "--strategies",
        default="ddpnas,random,regularized-evolution",
        help="names joined by commas, with options as in sng:pruning=true:delta=0.5, or your own "
        "as mine.py:MyStrategy (the file is executed)",
    )
    parser.add_argument(
        "--seeds", type=Count, default=500, help="number of runs of each strategy, one seed each"
    )
    parser.add_argument(
        "--budget",
        default="12000s",
        help="budget of a run: simulated seconds (12000s) or evaluations (60)",
    )
    parser.add_argument(
        "--epochs",
        type=Epochs,
        help="score by validation accuracy after this many epochs; default: the fewest in the "
        "table",
    )
    parser.add_argument("--workers", type=Workers, help="number of processes; default: one per CPU")
    parser.add_argument("--executor", default="local", help="where the processes run: local or ray")
    parser.add_argument("--out", default="runs/benchmark", help="folder for CSV files and a plot")
    parser.add_argument("--overwrite", action="store_true", help="replace the results in --out")
    add_json(parser)
    return parser


def benchmark(options: Namespace) -> None:
    """``ddpnas benchmark``."""
    contenders = [Contender.parse(text) for text in options.strategies.split(",")]
    if len({contender.label for contender in contenders}) < len(contenders):
        raise OptionError("--strategies names a strategy twice")
    budget = Budget.parse(options.budget)
    folder = Path(options.out)
    source = (options.name, options.dataset, options.table)
    table = load_table(*source)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        locked = lock(folder, folder / LOCK, "give another --out")
    with locked:
        if (folder / EXPERIMENT).exists() and not options.overwrite:
            raise RunError(
                f"{folder} already holds a benchmark; give another --out, or --overwrite"
            )
        started = time.perf_counter()
        trials = compare_strategies(
            source,
            contenders,
            budget,
            options.seeds,
            epochs=options.epochs,
            workers=options.workers,
            executor=options.executor,
            on_progress=_draw_progress if sys.stderr.isatty() else None,
        )
        seconds = time.perf_counter() - started
        summaries = summarize(trials)
        about = {
            "table": table.name,
            "dataset": table.dataset,
            "strategies": options.strategies,
            "budget": options.budget,
            "seeds": options.seeds,
            "epochs": options.epochs,
            "wall_seconds": round(seconds, 1),
        }
        with writable(folder):
            write_results(folder, table, budget, trials, summaries, about)
    if options.json:
        show.as_json([asdict(summary) for summary in summaries])
        return
    _show_summaries(table, summaries, options)
    show.line(f"finished in {seconds:.0f} s; wrote {folder}")
    if not can_plot():
        show.line("no plot, because matplotlib is missing: pip install 'ddpnas[report]'")


def _show_summaries(table: Table, summaries: Sequence[Summary], options: Namespace) -> None:
    rows = [
        [
            s.strategy,
            f"{s.mean:.3f}",
            f"{s.std:.3f}",
            f"{s.low:.3f} - {s.high:.3f}",
            f"{s.recommended:.3f}",
            f"{s.evaluations:.1f}",
        ]
        for s in summaries
    ]
    columns = [
        "strategy",
        "test accuracy (%)",
        "std (points)",
        "95 % interval (%)",
        "recommended (%)",
        "evaluations",
    ]
    title = (
        f"{table.name}, {table.dataset}: test accuracy of the architecture with the best "
        f"validation accuracy; budget {options.budget}, {options.seeds} seeds"
    )
    show.table(columns, rows, title=title)


def _draw_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total} searches", end=end, file=sys.stderr, flush=True)


COMMANDS: dict[str, Command] = {"benchmark": (_benchmark_parser, benchmark)}
