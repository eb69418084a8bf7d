"""``ddpnas generate``."""

from __future__ import annotations

import dataclasses
import json

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import show
from ddpnas.cli.options import (
    Command,
    add_json,
    add_limit,
    add_space,
    new_parser,
    parse_limits,
)
from ddpnas.costs import count_costs
from ddpnas.generate import Generated
from ddpnas.generate import generate as generate_within
from ddpnas.reopen import run_space
from ddpnas.run import RunFolder
from ddpnas.search import SearchResult

__all__ = ["COMMANDS"]


def _generate_parser() -> ArgumentParser:
    parser = new_parser("the most likely architecture within limits, proven optimal")
    parser.add_argument("run", help="folder of a finished search")
    add_limit(parser)
    add_space(parser, None)
    parser.add_argument(
        "--survivors-only", action="store_true", help="leave out what the search pruned"
    )
    add_json(parser)
    return parser


def generate(options: Namespace) -> None:
    """``ddpnas generate``."""
    result = SearchResult.load(options.run)
    limits = parse_limits(options.limit)
    space = run_space(options.run, space=options.space, options=options.space_options)
    generated = generate_within(
        result.distribution,
        space,
        limits,
        count_costs(space),
        survivors_only=options.survivors_only,
    )
    record = {
        "architecture": dict(generated.architecture),
        "text": space.format(generated.architecture),
        "limits": limits,
        "costs": generated.costs,
        "slack": generated.slack,
        "log_prob": generated.log_prob,
        "certificate": dataclasses.asdict(generated.certificate),
        "space_options": options.space_options,
    }
    folder = RunFolder.open(options.run)
    try:
        folder.write_json("generated.json", record)
    finally:
        folder.close()
    if options.json:
        print(json.dumps(record, indent=1))
        return
    _show_generated(generated, record["text"], limits)
    print(f"next: ddpnas train {options.run} --random 3")


def _show_generated(generated: Generated, text: str, limits: dict[str, float]) -> None:
    rows = []
    for name, value in generated.costs.items():
        limit = f"{limits[name]:,.0f}" if name in limits else "-"
        slack = f"{generated.slack[name]:,.0f}" if name in limits else "-"
        rows.append([name, f"{value:,.0f}", limit, slack])
    show.table(["cost", "value", "limit", "left"], rows)
    proof = generated.certificate
    print(f"architecture: {text}")
    print(
        f"log probability {generated.log_prob:.4f}, proven optimal (gap {proof.gap:.1g}) in "
        f"{1000 * proof.seconds:.0f} ms"
    )


COMMANDS: dict[str, Command] = {
    "generate": (_generate_parser, generate),
}
