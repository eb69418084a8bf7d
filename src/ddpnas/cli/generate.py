"""``ddpnas generate``."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, add_own_network, new_parser, own_space
from ddpnas.cli._run_options import add_request, read_request, warn_if_not_kept
from ddpnas.cli.shrink import generate_widths
from ddpnas.costs.latency_check import check_latency, measured_here, waits_alike
from ddpnas.errors import DdpnasError
from ddpnas.generation.limits import Limit, amount
from ddpnas.runs.folder import GENERATED, SHRINK
from ddpnas.runs.generation_request import GenerationResult
from ddpnas.runs.run import Run
from ddpnas.utils.settings import Count, Extra

__all__ = ["COMMANDS"]

logger = logging.getLogger(__name__)


def _generate_parser() -> ArgumentParser:
    parser = new_parser(
        "solve for the most likely network within limits. The answer is proven optimal.",
        "ddpnas generate runs/photos --limit macs=20M --rescore 50",
    )
    add_request(parser)
    parser.add_argument("--top", type=Count, default=1, help="list this many of the best networks")
    parser.add_argument(
        "--rescore",
        type=Extra,
        default=0,
        help="score this many of the best with the weights of the search, each as a whole network, "
        "and choose the one with the highest score",
    )
    parser.add_argument(
        "--data", help="for --rescore: where the images are now, if they have moved"
    )
    add_own_network(parser)
    parser.add_argument("--device", default="auto", help="for --rescore: auto, cpu, cuda, ...")
    add_json(parser)
    return parser


def generate(options: Namespace) -> None:
    """``ddpnas generate``."""
    if (Path(options.run) / SHRINK).is_file():
        generate_widths(options)
        return
    run = Run(options.run)
    with show.RescoreProgress(quiet=options.json or not options.rescore) as progress:
        found = run.generate(
            read_request(options),
            top=options.top,
            rescore=options.rescore,
            space=options.space,
            data=options.data,
            network=options.network,
            device=options.device,
            on_progress=progress.update,
        )
    if options.json:
        show.as_json(found.to_dict())
    else:
        _show_costs(found)
        show.line(f"architecture: {found.text}")
        _show_proof(found)
        if options.top > 1:
            _show_list(found, options.top)
        if found.scores:
            _show_choice(found)
    said = ""
    with warn_if_not_kept(f"this answer is not kept in {GENERATED}"):
        run.keep(found)
        said = _next(Run(options.run), own_space(options.space or ""))
    if not options.json:
        _show_measured(found)
        show.line(said, quiet=not said)


def _next(run: Run, own: str) -> str:
    """Return what to do with the network that was generated."""
    if run.trained is not None and run.untrained is None:
        return f"this network is trained already: {run.trained.path}"
    words = f"ddpnas train {shlex.quote(str(run.path))}{own} --random 3"
    if run.trained is None:
        return f"next: {words}"
    return (
        f"next: {words} --out {shlex.quote(f'{run.path}-trained')} "
        f"({run.trained.path} holds another network)"
    )


def _show_costs(found: GenerationResult) -> None:
    task, chosen = found.task, found.chosen
    rows = []
    for name, value in chosen.costs.items():
        limit, left = "-", "-"
        if name in task.limits:
            limit = task.limits[name].describe()
            if (kept := chosen.tightened[name]) != task.limits[name]:
                limit += f" ({kept.describe()} as predicted, for the table's error)"
            left = amount(chosen.margin[name])
        rows.append([name, amount(value), limit, left, task.costs[name].unit])
    show.table(["cost", "value", "limit", "left", "unit"], rows)


def _show_proof(found: GenerationResult) -> None:
    one, proof = found.chosen, found.chosen.certificate
    value = "" if one.objective == "log_theta" else f", {one.objective} {proof.objective:.6g}"
    place = "optimal" if found.place == 0 else f"number {found.place + 1} of the list"
    show.line(
        f"log probability {one.log_prob:.4f}{value}, proven {place} (gap {proof.gap:.1g}) in "
        f"{1000 * proof.seconds:.0f} ms"
    )


def _show_measured(found: GenerationResult) -> None:
    """Measure the network where this machine made the table, and print it by the prediction."""
    for table in found.task.request.tables():
        if not measured_here(table):
            continue
        if not waits_alike(table):
            show.line(
                f"{table.name}: not measured now, since threads wait for each other in another way "
                f"here than in the table (OMP_WAIT_POLICY); `ddpnas latency check` measures it"
            )
            continue
        try:
            check = check_latency(found.task.space, table, found.chosen.architecture)
        except DdpnasError as error:  # the answer is kept all the same
            logger.warning("warning: %s is not measured now: %s", table.name, error)
            continue
        limit = found.task.limits.get(table.name, Limit())
        held = (
            "" if limit.holds(check.measured_ms) else ", outside the limit; try a larger --margin"
        )
        show.line(
            f"{table.name}: predicted {check.predicted_ms:.4g}, measured now "
            f"{check.measured_ms:.4g} (interquartile range {check.iqr_ms:.2g}){held}"
        )


def _show_list(found: GenerationResult, top: int) -> None:
    names, scores = list(found.task.costs), found.scores
    rows = []
    for i, one in enumerate(found.candidates[:top]):
        shown = ["-", "-"] if scores else []
        if i < len(scores):
            accuracy = scores[i].details.get("accuracy")
            said = "-" if accuracy is None else f"{100 * accuracy:.2f} %"
            shown = [f"{scores[i].score:.4f}", said]
        rows.append(
            [
                str(i + 1),
                f"{one.certificate.objective:.4f}",
                *shown,
                *(amount(one.costs[name]) for name in names),
                found.task.space.format(one.architecture),
            ]
        )
    headings = ["score", "accuracy"] if scores else []
    show.table(
        ["", "objective", *headings, *names, "architecture"], rows, title="the best networks"
    )


def _show_choice(found: GenerationResult) -> None:
    n, first, best = len(found.scores), found.scores[0].score, found.scores[found.place].score
    if found.place == 0:
        show.line(f"rescoring {n} candidates did not change the choice (score {first:.4f})")
    else:
        show.line(
            f"rescoring {n} candidates changed the choice from number 1 (score {first:.4f}) to "
            f"number {found.place + 1} ({best:.4f})"
        )


COMMANDS: dict[str, Command] = {
    "generate": (_generate_parser, generate),
}
