"""``ddpnas generate``."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, new_parser, own_space
from ddpnas.cli.keep import keep
from ddpnas.cli.question import Question, add_question, read_question
from ddpnas.errors import OptionError
from ddpnas.evaluators.base import Evaluation
from ddpnas.generation.best import Generated, top_k
from ddpnas.generation.limits import amount
from ddpnas.runs.folder import GENERATED
from ddpnas.runs.rescore import rescore as score_again

__all__ = ["COMMANDS"]


def _generate_parser() -> ArgumentParser:
    parser = new_parser("the most likely architecture within limits, proven optimal")
    add_question(parser)
    parser.add_argument("--top", type=int, default=1, help="list so many of the best networks")
    parser.add_argument(
        "--rescore",
        type=int,
        default=0,
        help="score so many of the best, each as a whole, as the search scored and with its "
        "weights, and choose the one with the highest score",
    )
    parser.add_argument("--data", help="of --rescore: where the run's images are, if they moved")
    parser.add_argument("--device", default="auto", help="of --rescore: auto, cpu, cuda, ...")
    add_json(parser)
    return parser


def generate(options: Namespace) -> None:
    """``ddpnas generate``."""
    for name in ("top", "rescore"):
        if options[name] < (least := int(name == "top")):
            raise OptionError(f"--{name} is at least {least}, not {options[name]}")
    question = read_question(options)
    found = top_k(
        question.result.distribution,
        question.space,
        max(options.top, options.rescore),
        question.limits,
        question.costs,
        **question.options,
    )
    rescored: list[Evaluation] = []
    if options.rescore:
        candidates = [one.architecture for one in found[: options.rescore]]
        rescored = score_again(
            options.run,
            candidates,
            space=options.space,
            data=options.data,
            device=options.device,
        )
    # Of equal scores the one before, which is the likelier.
    at = max(range(len(rescored)), key=lambda i: rescored[i].score, default=0)
    record = _record(options, question, found, rescored, at)
    if options.json:
        print(json.dumps(record, indent=1), flush=True)
        keep(options.run, GENERATED, record)
        return
    _show_costs(found[at], question)
    print(f"architecture: {record['text']}")
    _show_proof(found[at], at)
    if options.top > 1:
        _show_list(found[: options.top], question, rescored)
    if rescored:
        _show_choice(rescored, at)
    if keep(options.run, GENERATED, record):
        own = own_space(options.space or "")
        print(f"next: ddpnas train {shlex.quote(options.run)}{own} --random 3")


def _record(
    options: Namespace,
    question: Question,
    found: Sequence[Generated],
    rescored: Sequence[Evaluation],
    at: int,
) -> dict[str, Any]:
    """Return what ``generated.json`` holds: the chosen architecture, and the list it is from."""
    listed = [_one(one, question) for one in found]
    for record, score in zip(listed, rescored, strict=False):
        record.update(score=score.score, accuracy=score.details["accuracy"])
    chosen = listed[at]
    return {
        **chosen,
        "limits": {name: limit.to_json() for name, limit in question.limits.items()},
        "objective": options.objective,
        "survivors_only": options.survivors_only,
        "height": options.height,
        "parametric": options.parametric,
        "costs_from": options.costs,
        "space_options": options.space_options,
        "tables": [table.to_dict() for table in question.given],
        **({"top": listed} if len(found) > 1 else {}),
        **(
            {"rescored": options.rescore, "chosen": at, "changed_by_rescoring": at > 0}
            if rescored
            else {}
        ),
    }


def _one(one: Generated, question: Question) -> dict[str, Any]:
    return {
        "architecture": dict(one.architecture),
        "text": question.space.format(one.architecture),
        "costs": one.costs,
        "margin": one.margin,
        "log_prob": one.log_prob,
        "certificate": {**dataclasses.asdict(one.certificate), "gap": one.certificate.gap},
    }


def _show_costs(one: Generated, question: Question) -> None:
    rows = []
    for name, value in one.costs.items():
        limit, left = "-", "-"
        if name in question.limits:
            limit = question.limits[name].describe()
            left = amount(one.margin[name])
        rows.append([name, amount(value), limit, left, question.costs[name].unit])
    show.table(["cost", "value", "limit", "left", "unit"], rows)


def _show_proof(one: Generated, at: int) -> None:
    proof = one.certificate
    value = "" if one.objective == "log_theta" else f", {one.objective} {proof.objective:.6g}"
    place = "optimal" if at == 0 else f"number {at + 1} of the list"
    print(
        f"log probability {one.log_prob:.4f}{value}, proven {place} (gap {proof.gap:.1g}) in "
        f"{1000 * proof.seconds:.0f} ms"
    )


def _show_list(
    found: Sequence[Generated], question: Question, rescored: Sequence[Evaluation]
) -> None:
    names = list(question.costs)
    rows = []
    for i, one in enumerate(found):
        shown = ["-", "-"] if rescored else []
        if i < len(rescored):
            shown = [f"{rescored[i].score:.4f}", f"{100 * rescored[i].details['accuracy']:.2f} %"]
        rows.append(
            [
                str(i + 1),
                f"{one.certificate.objective:.4f}",
                *shown,
                *(amount(one.costs[name]) for name in names),
                question.space.format(one.architecture),
            ]
        )
    scores = ["score", "accuracy"] if rescored else []
    show.table(["", "objective", *scores, *names, "architecture"], rows, title="the best networks")


def _show_choice(rescored: Sequence[Evaluation], at: int) -> None:
    n, first, best = len(rescored), rescored[0].score, rescored[at].score
    if at == 0:
        print(f"rescoring {n} candidates did not change the choice (score {first:.4f})")
    else:
        print(
            f"rescoring {n} candidates changed the choice from number 1 (score {first:.4f}) to "
            f"number {at + 1} ({best:.4f})"
        )


COMMANDS: dict[str, Command] = {
    "generate": (_generate_parser, generate),
}
