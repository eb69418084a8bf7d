"""``ddpnas benchmark``: compare strategies on a table of trained networks."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ddpnas.benchmarks.experiment import Budget, Contender, compare, summarise
from ddpnas.benchmarks.results import can_plot, plot_regret, write_results
from ddpnas.benchmarks.tables import list_tables, load_table
from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, new_parser
from ddpnas.errors import OptionError, RunError

__all__ = ["COMMANDS"]


def _benchmark_parser() -> ArgumentParser:
    parser = new_parser("compare strategies on a table of trained networks, with many seeds")
    parser.add_argument("name", help=f"{' or '.join(list_tables())}, or a name for --table")
    parser.add_argument("--table", help="a .npz table of your own")
    parser.add_argument("--dataset", help="one of the table's; default: its first")
    parser.add_argument(
        "--strategies",
        default="ddpnas,random,regularized-evolution",
        help="joined by commas; with options: sng:pruning=true:delta=0.5; one of your own: "
        "mine.py:MyStrategy, whose file is executed",
    )
    parser.add_argument("--seeds", type=int, default=500, help="runs of each strategy, a seed each")
    parser.add_argument(
        "--budget", default="12000s", help="simulated seconds (12000s) or evaluations (60)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        help="training epochs of the validation accuracy that scores; default: the fewest "
        "in the table",
    )
    parser.add_argument("--workers", type=int, help="processes; default: one a CPU")
    parser.add_argument("--executor", default="local", help="where they run: local or ray")
    parser.add_argument("--out", default="runs/benchmark", help="folder for CSV files and plot")
    parser.add_argument("--overwrite", action="store_true", help="replace the results in --out")
    add_json(parser)
    return parser


def benchmark(options: Namespace) -> None:
    """``ddpnas benchmark``."""
    contenders = [Contender.parse(text) for text in options.strategies.split(",")]
    if len({contender.label for contender in contenders}) < len(contenders):
        raise OptionError("a strategy is named twice in --strategies")
    budget = Budget.parse(options.budget)
    folder = Path(options.out)
    if (folder / "experiment.json").exists() and not options.overwrite:
        raise RunError(f"{folder} holds a benchmark; give another --out, or --overwrite")
    source = (options.name, options.dataset, options.table)
    table = load_table(*source)
    started = time.perf_counter()
    trials = compare(
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
    summaries = summarise(trials)
    about = {
        "table": table.name,
        "dataset": table.dataset,
        "strategies": options.strategies,
        "budget": options.budget,
        "seeds": options.seeds,
        "epochs": options.epochs,
        "wall_seconds": round(seconds, 1),
    }
    write_results(folder, table, budget, trials, summaries, about)
    if can_plot():
        plot_regret(folder / "regret.png", table, budget, trials)
    if options.json:
        print(json.dumps([asdict(summary) for summary in summaries], indent=1))
        return
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
    columns = ["strategy", "test %", "std", "95 % interval", "recommended %", "evaluations"]
    title = (
        f"{table.name}, {table.dataset}: test accuracy of the architecture chosen by validation, "
        f"budget {options.budget}, {options.seeds} seeds"
    )
    show.table(columns, rows, title=title)
    print(f"{seconds:.0f} s; written to {folder}")
    if not can_plot():
        print("no plot: it needs matplotlib, pip install 'ddpnas[report]'")


def _draw_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total} searches", end=end, file=sys.stderr, flush=True)


COMMANDS: dict[str, Command] = {"benchmark": (_benchmark_parser, benchmark)}
