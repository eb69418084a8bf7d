"""``ddpnas latency``: a table of milliseconds of a space, measured here or elsewhere."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_quiet, add_space, fields, new_parser
from ddpnas.cli.keep import keep
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.latency import check_latency, measure_latency
from ddpnas.costs.remote_latency import export_latency, import_latency, read_measurements
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.runs.resume import run_generated, run_space
from ddpnas.runs.search import SearchResult
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.utils.files import writable

__all__ = ["COMMANDS"]

TABLE = "latency.json"  # of a run


def _parser() -> ArgumentParser:
    parser = new_parser("measure a table of milliseconds, whose limits `generate` can then keep")
    parser.add_argument(
        "action",
        nargs="*",
        default=[],
        help="nothing: measure here; export: write files that measure elsewhere; import FILE: make "
        "the table of what was measured there; check RUN: a table's prediction for a run's network "
        "against a new measurement",
    )
    parser.add_argument(
        "--run", help="measure the space of a run, with its options, into its latency.json"
    )
    add_space(parser, None)
    parser.add_argument("--out", help="the table, a JSON file; of export: a folder")
    parser.add_argument("--table", help="of check: the table, if not the run's latency.json")
    parser.add_class_arguments(LatencyConfig)
    add_quiet(parser)
    return parser


def latency(options: Namespace) -> None:
    """``ddpnas latency``, of this machine, or ``export``, ``import FILE``, ``check RUN``."""
    action, *words = options.action or ["measure"]
    if action not in ACTIONS:
        raise OptionError(nearest("action of `ddpnas latency`", action, ACTIONS))
    call, wanted = ACTIONS[action]
    if len(words) != (wanted is not None):
        given = " ".join(words) or "nothing"
        raise OptionError(f"`ddpnas latency {action}` takes {wanted or 'no file'}, not {given}")
    call(options, *words)


def _measure(options: Namespace) -> None:
    space = _wanted_space(options)
    if options.out is None and options.run is not None:
        out = Path(options.run) / TABLE
    else:
        out = Path(_needed(options, "out", "--out table.json"))
    config = fields(LatencyConfig, options)
    with writable(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with _Progress(quiet=options.quiet) as progress:
        table = measure_latency(
            space, config, partial=out.with_name(out.name + ".part"), on_progress=progress.update
        )
    _finish(table, out)


def _export(options: Namespace) -> None:
    out = _needed(options, "out", "--out FOLDER")
    space = _wanted_space(options)
    with _Progress(quiet=options.quiet) as progress:
        export_latency(
            space,
            out,
            fields(LatencyConfig, options),
            lambda i, count: progress.update(1, i, count),
        )
    print(f"next: copy {out} to the machine, run there: python measure.py (NumPy and onnxruntime)")
    print(f"then here: ddpnas latency import {out}/measurements.json --out table.json")


def _import(options: Namespace, path: str) -> None:
    out = Path(_needed(options, "out", "--out table.json"))
    measurements = read_measurements(path)
    wanted = {**measurements["options"], **options.space_options}
    code = measurements.get("space_code")
    name = confirmed_name(
        "space", path, measurements["space"], options.space, known=list_spaces(), kept=code
    )
    _finish(import_latency(measurements, named_space(name, wanted)), out)


def _check(options: Namespace, run: str) -> None:
    table = CostTable.load(options.table or Path(run) / TABLE)
    made = run_generated(run)
    space = run_space(
        run,
        space=options.space,
        options={**made.get("space_options", {}), **options.space_options},
    )
    architecture = made.get("architecture") or SearchResult.load(run).architecture
    found = check_latency(space, table, architecture)
    record = {"text": space.format(found.architecture), **dataclasses.asdict(found)}
    record["architecture"] = dict(found.architecture)
    print(f"architecture: {record['text']}")
    print(
        f"predicted {found.predicted_ms:.4g} ms, measured {found.measured_ms:.4g} ms "
        f"(interquartile range {found.iqr_ms:.2g}): {found.error_percent:+.1f} %",
        flush=True,
    )
    keep(run, "latency_check.json", record)


def _finish(table: CostTable, out: Path) -> None:
    with writable(out.parent):
        table.save(out)
    about = table.about
    check = about["check"]
    low, high = check["kendall_tau_interval"]
    tau = "-" if check["kendall_tau"] is None else f"{check['kendall_tau']:.2f}"
    interval = "-" if low is None else f"{low:.2f} to {high:.2f}"
    show.table(
        ["latency of float32 networks", about["machine"]],
        [
            ["measured by", f"{about['backend']}, batch {about['batch']}, {_threads(about)}"],
            ["load of the machine", " to ".join(str(load) for load in about["load"])],
            ["distinct parts timed", str(len(about["parts"]))],
            ["whole networks to check the sums", str(check["architectures"])],
            ["fitted overhead and scale", f"{check['overhead_ms']:.3g} ms, {check['scale']:.3f}"],
            ["error on a left-out network", _error(check)],
            ["error of the unfitted sums", f"{check['unfitted_mape_percent']:.1f} %"],
            ["Kendall's tau, left out", f"{tau} (95 %: {interval})"],
        ],
    )
    print(f"wrote {out}")


def _error(check: Mapping[str, Any]) -> str:
    return (
        f"{check['mape_percent']:.1f} ± {check['mape_sd_percent']:.1f} %, at most "
        f"{check['worst_percent']:.1f} %"
    )


def _threads(about: Mapping[str, Any]) -> str:
    return "1 thread" if about["threads"] == 1 else f"{about['threads']} threads"


def _needed(options: Namespace, name: str, example: str) -> str:
    value = options[name]
    if value is None:
        raise OptionError(f"`ddpnas latency` needs --{name}, such as {example}")
    return str(value)


def _wanted_space(options: Namespace) -> SearchSpace:
    if options.run is not None:
        return run_space(options.run, space=options.space, options=options.space_options)
    name = _needed(options, "space", "--space nasbench201")
    return named_space(name, options.space_options)


class _Progress:
    """Shows how far a round is: a line that is renewed on a terminal, else one a round."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stdout.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._quiet and self._terminal:
            print()

    def update(self, number: int, i: int, count: int) -> None:
        """Take what :func:`ddpnas.measure_latency` reports."""
        if self._quiet:
            return
        text = f"round {number}: {i} of {count}"
        if self._terminal:
            print(f"\r\x1b[2K{text}", end="", flush=True)
        elif i == count:
            print(text, flush=True)


# What the first word may be: the function, and what the second word is.
ACTIONS: dict[str, tuple[Callable[..., None], str | None]] = {
    "measure": (_measure, None),
    "export": (_export, None),
    "import": (_import, "the file of measurements"),
    "check": (_check, "the folder of a run"),
}

COMMANDS: dict[str, Command] = {"latency": (_parser, latency)}
