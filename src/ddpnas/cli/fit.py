"""``ddpnas fit``."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import Annotated

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._clock import seconds_since
from ddpnas.cli._options import (
    Command,
    add_json,
    add_limit,
    add_quiet,
    add_scoring,
    add_seed_and_device,
    add_sieve,
    add_start,
    new_parser,
    own_network,
)
from ddpnas.fitting.designs import PEAK
from ddpnas.fitting.fit import fit as fit_network
from ddpnas.fitting.fit import resume_fit
from ddpnas.fitting.fitted import Fitted
from ddpnas.fitting.plan import FitPlan
from ddpnas.fitting.user_files import in_files
from ddpnas.generation.limits import amount, parse_limits
from ddpnas.report.commands import command, option_words
from ddpnas.runs.folder import LATENCY, PLAN, RUN, TRAINED
from ddpnas.space.user_code import without_folders
from ddpnas.utils.duration import duration
from ddpnas.utils.settings import Count, Pixels
from ddpnas.utils.shapes import Range
from ddpnas.utils.text import resume_command

__all__ = ["COMMANDS", "resume"]


def _fit_parser() -> ArgumentParser:
    parser = new_parser(
        "find and train a network within limits and minutes",
        "ddpnas fit photos/ --limit macs=20M --minutes 10 --out runs/photos",
    )
    parser.add_argument("data", help="folder with one subfolder for each class; see `ddpnas data`")
    add_limit(parser)
    parser.add_argument(
        "--minutes",
        type=Annotated[float, Range(above=0, most=1e6)],
        default=10.0,
        help="time for everything except baselines",
    )
    parser.add_argument("--out", help="folder for the result; default: runs/NAME of the data")
    add_start(parser, "searching")
    parser.add_argument(
        "--image-size",
        type=Pixels,
        help="pixels a side; default: the size of the images, at most 64; with --start as large as "
        "the time allows",
    )
    add_scoring(parser)
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        help="also train this network for the same time, to compare: residual, resnet-9, "
        "mobilenet-v2 or regnet (scaled to the limits), a network of torchvision, timm:NAME or "
        "NET.py:function; may be repeated",
    )
    parser.add_argument(
        "--export",
        default="onnx",
        help="file to write and check: onnx (default), torch (torch.export) or none",
    )
    parser.add_argument(
        "--plan",
        help="repeat another fit exactly: its plan.json. Name a --start or --teacher that is code "
        "in a file again",
    )
    parser.add_argument(
        "--threads",
        type=Count,
        help="number of CPU threads; default: all or one, whichever is faster",
    )
    add_sieve(parser)
    add_seed_and_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    add_json(parser)
    add_quiet(parser)
    return parser


def fit(options: Namespace) -> None:
    """``ddpnas fit``."""
    out = options.out or _default_out(options.data)
    quiet, begun = options.quiet or options.json, time.time()
    try:
        fitted = fit_network(
            options.data,
            parse_limits(options.limit),
            options.minutes,
            out,
            start=options.start,
            weights=options.weights,
            teacher=options.teacher,
            sieve=options.sieve,
            sieve_options=options.sieve_options,
            image_size=options.image_size,
            metric=options.metric or "accuracy",
            class_weights=options.class_weights or "none",
            seed=options.seed,
            device=options.device,
            threads=options.threads,
            baselines=options.baseline,
            export=options.export,
            plan=options.plan,
            overwrite=options.overwrite,
            started=seconds_since(),
            on_progress=lambda text: show.line(text, quiet=quiet),
        )
    except KeyboardInterrupt:
        if not _can_go_on(Path(out), begun):
            raise
        networks = in_files([options.start, options.teacher, *options.baseline])
        own = "".join(own_network(name) for name in networks)
        json_too = " --json" if options.json else ""
        raise KeyboardInterrupt(f"{resume_command(out)}{own}{json_too}") from None
    _show_fitted(fitted, options.json)


def _default_out(data: str) -> str:
    """Return a folder for a fit, named as that of its images, for "." and "..", too."""
    name = Path(data).name
    if name in ("", ".."):
        name = Path(data).resolve().name
    return f"runs/{re.sub(r'[^A-Za-z0-9._-]+', '-', name) or 'fit'}"


def _can_go_on(folder: Path, begun: float) -> bool:
    """Return whether a fit got so far: one that searches to its run, any other to its plan.

    Args:
        folder: Its folder; it may hold a fit before, which this one would have replaced.
        begun: When it began, by ``time.time()``.
    """
    plan = folder / PLAN
    if not plan.is_file() or plan.stat().st_mtime < begun:
        return False
    return (folder / RUN).is_file() or FitPlan.read(plan).start is not None


def resume(options: Namespace) -> None:
    """``ddpnas resume`` in the folder of a fit."""
    fitted = resume_fit(
        options.run,
        data=options.data,
        networks=options.network,
        started=seconds_since(),
        on_progress=lambda text: show.line(text, quiet=options.quiet or options.json),
    )
    _show_fitted(fitted, options.json)


def _show_fitted(fitted: Fitted, as_json: bool) -> None:
    if as_json:
        show.as_json(fitted.to_dict())
        return
    folder = shlex.quote(str(fitted.folder))
    split, both = show.split(fitted.evaluation), fitted.evaluation.is_imbalanced
    names = list(dict.fromkeys(("macs", "params", *fitted.limits)))
    rows = [
        [
            name,
            *(amount(costs[n]) if n in costs else "-" for n in names),
            f"{len(result.history):,}",
            f"{100 * result.evaluation.accuracy:.2f} %",
            *([f"{100 * result.evaluation.macro_f1:.2f} %"] if both else []),
        ]
        for name, costs, result in [
            ("found", fitted.costs, fitted.trained),
            *((b.name, b.costs, b.result) for b in fitted.baselines),
        ]
    ]
    show.line("")
    show.table(
        ["network", *names, "epochs", f"{split} accuracy", *(["macro-F1"] if both else [])],
        rows,
        title=f"{fitted.evaluation.items:,} {split} images that no network was trained on",
    )
    if len(fitted.frontier) > 1:
        seen = [
            [amount(c.costs["macs"]), f"{c.epochs:.1f}", f"{100 * c.accuracy:.2f} %"]
            for c in fitted.frontier
        ]
        show.table(
            ["macs", "epochs", "valid accuracy"], seen, title="best of the race at each cost"
        )
    if fitted.evaluation.split == "valid":
        show.line("there are no test images: validation images also chose the network")
    show.line(f"architecture: {fitted.text}")
    total = duration(fitted.seconds["total"])
    show.line(f"{total} in all, {show.memory()}; everything is in {fitted.folder}")
    for kind, path in fitted.files.items():
        show.line(f"{kind}: {path}")
    named = fitted.named
    copy = "" if named is None else f"{fitted.folder}/trained/{without_folders(named.name)}"
    show.line(f"next: ddpnas predict {folder}{own_network(copy)} IMAGE...")
    if (words := _within_half(fitted, str(fitted.folder))) is not None:
        show.line(f"another limit: {command(*words)}")


def _within_half(fitted: Fitted, folder: str) -> list[str] | None:
    """Return a command for half the multiply-adds, all else as it was asked for; None without one.

    Args:
        fitted: What was found.
        folder: Its folder.
    """
    plan = FitPlan.read(folder)
    macs = show.short_limit(float(f"{fitted.costs['macs'] / 2:.2g}"))
    kept = {name: limit for name, limit in fitted.limits.items() if name != "macs"}
    every = {"macs": macs, **kept}.items()
    limits = [word for name, limit in every for word in ("--limit", f"{name}={limit}")]
    if fitted.search is not None and PEAK not in kept:  # no sum, so generate cannot keep it
        table = Path(folder) / LATENCY
        return ["generate", folder, *limits, *(["--costs", str(table)] if table.is_file() else [])]
    data = fitted.trained.data
    assert data is not None  # as the command line reads it from somewhere
    images, out = str(data.source["data"]), ["--out", f"{folder}-small"]
    if plan.start is None:  # without a race, nothing is known of other networks
        return ["fit", images, *limits, *_asked(plan), *out]
    if fitted.named is None or PEAK in kept:
        return None
    return [
        "shrink", fitted.named.name, "--weights", f"{folder}/{TRAINED}/model.safetensors",
        "--data", images, "--image-size", str(data.input_shape[-1]), *limits, *out,
    ]  # fmt: skip


def _asked(plan: FitPlan) -> list[str]:
    """Return the options of a fit that searches, all but limits, where they are not the default."""
    asked = {
        "minutes": (f"{plan.seconds / 60:.9g}", "10"),
        "image-size": (plan.image_size, None),
        "metric": (plan.evaluator_options.get("metric"), None),
        "class-weights": (plan.recipe.get("class_weights"), None),
        "teacher": (plan.teacher, None),
        "sieve": (plan.sieve, "all"),
        "seed": (plan.seed, 0),
        "device": (plan.device, "auto"),
        "export": (plan.export, "onnx"),
    }
    words = [
        word
        for name, (value, default) in asked.items()
        if value != default
        for word in (f"--{name}", str(value))
    ]
    words += option_words("--sieve-options", plan.sieve_options)
    return words + [word for name in plan.baselines for word in ("--baseline", name)]


COMMANDS: dict[str, Command] = {
    "fit": (_fit_parser, fit),
}
