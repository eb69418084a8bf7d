"""``ddpnas latency``: measure a latency table of a space, here or on another machine."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_quiet, add_space, fields, new_parser, own_space
from ddpnas.cli._run_options import warn_if_not_kept
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.latency import measure_latency
from ddpnas.costs.latency_check import check_latency
from ddpnas.costs.remote_latency import export_latency, import_latency, read_measurements
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.runs.folder import LATENCY, LATENCY_CHECK
from ddpnas.runs.networks import RunNetwork
from ddpnas.runs.run import Run
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.utils.files import LOCK, lock, writable

__all__ = ["COMMANDS"]

_SETTINGS = dataclasses.asdict(LatencyConfig())


def _parser() -> ArgumentParser:
    parser = new_parser(
        "measure milliseconds, so that limits can name them. The table of all operations is "
        "what `ddpnas generate --costs` takes.",
        "ddpnas latency --run runs/photos --minutes 5",
    )
    parser.add_argument(
        "action",
        nargs="*",
        default=[],
        help="nothing: measure on this machine; export: write files that measure on another "
        "machine; import FILE: make the table from what was measured there; check RUN: measure the "
        "network of a run and compare it with the table's prediction",
    )
    parser.add_argument(
        "--run", help="measure the space of this run, with its options, into RUN/latency.json"
    )
    add_space(parser, None)
    parser.add_argument("--out", help="JSON file to write; for export: folder to write")
    parser.add_argument("--table", help="for check: the table, if not RUN/latency.json")
    parser.add_class_arguments(LatencyConfig)
    add_quiet(parser)
    return parser


def latency(options: Namespace) -> None:
    """``ddpnas latency``, with or without ``export``, ``import FILE`` or ``check RUN``."""
    action, *words = options.action or ["measure"]
    if action not in ACTIONS:
        raise OptionError(nearest("action of `ddpnas latency`", action, ACTIONS))
    call, wanted, taken = ACTIONS[action]
    if len(words) != (wanted is not None):
        given = " ".join(words) or "nothing"
        raise OptionError(f"`ddpnas latency {action}` takes {wanted or 'no file'}, not {given}")
    _refuse_unused(options, action, taken)
    call(options, *words)


def _refuse_unused(options: Namespace, action: str, taken: Collection[str]) -> None:
    """Refuse an option that an action has no use for, where its value is not the default."""
    defaults = {**dict.fromkeys(("run", "out", "table")), **_SETTINGS}
    unused = [n for n, value in defaults.items() if n not in taken and options[n] != value]
    if not unused:
        return
    words = f"`ddpnas latency{'' if action == 'measure' else f' {action}'}`"
    why = ""
    if unused[0] in _SETTINGS:
        made = "table was measured" if action == "check" else "files were exported"
        why = f"; it is as it was when the {made}"
    raise OptionError(f"{words} does not take --{unused[0].replace('_', '-')}{why}")


def _measure(options: Namespace) -> None:
    space = _wanted_space(options)
    if options.out is None and options.run is not None:
        out = Path(options.run) / LATENCY
    else:
        out = _out_file(options)
    config = fields(LatencyConfig, options)
    with _locked(out) as partial:
        with show.LatencyProgress(quiet=options.quiet) as progress:
            table = measure_latency(space, config, partial=partial, on_progress=progress.update)
        _finish(table, out)
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Lock the file of a table against other processes, and yield the file of times so far.

    A measurement that fails before its first time leaves nothing behind.
    """
    mark, partial = (out.with_name(out.name + end) for end in (LOCK, ".part"))
    new = not out.parent.exists()
    with writable(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        locked = lock(out, mark, "give another --out")
    with locked:
        try:
            yield partial
        finally:
            mark.unlink(missing_ok=True)
            if new and not any(out.parent.iterdir()):
                out.parent.rmdir()


def _export(options: Namespace) -> None:
    out = _needed(options, "out", "--out FOLDER")
    space = _wanted_space(options)
    with show.LatencyProgress(quiet=options.quiet) as progress:
        export_latency(
            space,
            out,
            fields(LatencyConfig, options),
            lambda i, count: progress.update(1, i, count),
        )
    show.line(f"next: copy {out} to the other machine and run python measure.py there")
    show.line("it needs NumPy and onnxruntime")
    file, own = shlex.quote(f"{out}/measurements.json"), own_space(str(options.space or space.name))
    show.line(f"then run here: ddpnas latency import {file}{own} --out table.json")


def _import(options: Namespace, path: str) -> None:
    out = _out_file(options)
    measurements = read_measurements(path)
    wanted = {**measurements["options"], **options.space_options}
    code = measurements.get("space_code")
    name = confirmed_name(
        "space", path, measurements["space"], options.space, known=list_spaces(), kept=code
    )
    _finish(import_latency(measurements, named_space(name, wanted)), out)


def _check(options: Namespace, run: str) -> None:
    kept = Run(run)
    file = Path(options.table or kept.path / LATENCY)
    if options.table is None and not file.exists():
        raise OptionError(
            f"{run} has no latency table; measure one (ddpnas latency --run {shlex.quote(run)}"
            f"{own_space(options.space or kept.config.space)}), or name it: --table FILE"
        )
    table = CostTable.load(file)
    network = kept.chosen or RunNetwork.found(kept.result)  # raises if the search is not finished
    space = kept.space(options.space, options={**network.space_options, **options.space_options})
    found = check_latency(space, table, network.architecture)
    record = {"text": space.format(found.architecture), **dataclasses.asdict(found)}
    record["architecture"] = dict(found.architecture)
    record["space_options"] = space.plain_options
    show.line(f"architecture: {record['text']}")
    show.line(
        f"predicted {found.predicted_ms:.4g} ms, measured {found.measured_ms:.4g} ms "
        f"(interquartile range {found.iqr_ms:.2g}): {found.error_percent:+.1f} %",
    )
    with warn_if_not_kept(f"this check is not kept in {LATENCY_CHECK}"):
        kept.write(LATENCY_CHECK, record)


def _finish(table: CostTable, out: Path) -> None:
    with writable(out, then="run the same command again"):
        table.save(out)
    about = table.about
    check = about["check"]
    low, high = check["kendall_tau_interval"]
    tau = "-" if check["kendall_tau"] is None else f"{check['kendall_tau']:.2f}"
    interval = "-" if low is None else f"{low:.2f} to {high:.2f}"
    show.table(
        ["latency table (float32, ms)", about["machine"]],
        [
            ["measured with", f"{about['backend']}, batch {about['batch']}, {_threads(about)}"],
            [
                "load of the machine, before and after",
                " to ".join(str(load) for load in about["load"]),
            ],
            ["distinct parts timed", str(len(about["parts"]))],
            *_interpolated(about.get("interpolation")),
            ["whole networks timed to check it", str(check["architectures"])],
            ["fitted overhead and scale", f"{check['overhead_ms']:.3g} ms, {check['scale']:.3f}"],
            ["error on a network left out of the fit", _error(check)],
            ["its 95th percentile, the default --margin", f"{100 * table.margin:.1f} %"],
            ["error without the fit", f"{check['unfitted_mape_percent']:.1f} %"],
            ["Kendall's tau, left out of the fit", f"{tau} (95 % interval: {interval})"],
        ],
    )
    show.line(f"wrote {out}")


def _interpolated(found: Mapping[str, Any] | None) -> list[list[str]]:
    """Return a row on operations that were not timed, if there are any."""
    if found is None or "p95_percent" not in found:
        return []
    missing = found["operations"] - found["timed"]
    return [[
        f"interpolated operations of {found['operations']}, and the error of one",
        f"{missing}: {found['mape_percent']:.1f} %, 95th percentile {found['p95_percent']:.1f} %",
    ]]  # fmt: skip


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
        raise OptionError(f"`ddpnas latency` needs --{name}: for example {example}")
    return str(value)


def _out_file(options: Namespace) -> Path:
    """Return the file to write; a folder is refused before anything is measured."""
    out = Path(_needed(options, "out", "--out table.json"))
    if out.is_dir():
        file = shlex.quote(str(out / LATENCY))
        raise OptionError(f"{out} is a folder; give a file, such as --out {file}")
    return out


def _wanted_space(options: Namespace) -> SearchSpace:
    if options.run is not None:
        return Run(options.run).space(options.space, options=options.space_options)
    name = _needed(options, "space", "--space nasbench201")
    return named_space(name, options.space_options)


# First word of the command: its function, what the second word names, and which options it takes
# next to those of the space.
ACTIONS: dict[str, tuple[Callable[..., None], str | None, Collection[str]]] = {
    "measure": (_measure, None, {"run", "out", *_SETTINGS}),
    "export": (_export, None, {"run", "out", *_SETTINGS}),
    "import": (_import, "the file of measurements", {"out"}),
    "check": (_check, "the folder of a run", {"table"}),
}

COMMANDS: dict[str, Command] = {"latency": (_parser, latency)}
