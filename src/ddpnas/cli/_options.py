"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.errors import OptionError
from ddpnas.generation.limits import Limit
from ddpnas.space.user_code import names_file

__all__ = [
    "FREE",
    "Command",
    "add_json",
    "add_limit",
    "add_own_space",
    "add_quiet",
    "add_seed_and_device",
    "add_space",
    "add_space_options",
    "dashed",
    "fields",
    "new_parser",
    "own_space",
    "own_strategy",
    "parse_limits",
]

# What a module of commands lists: how to make the parser of each, and what to call then.
Command = tuple[Callable[[], ArgumentParser], Callable[[Namespace], None]]

FREE = ("--space-options", "--strategy-options", "--recipe-options")  # take any --name.option


def new_parser(description: str) -> ArgumentParser:
    """Return an empty parser that raises instead of exiting."""
    return ArgumentParser(
        description=description, exit_on_error=False, print_config="--print-config"
    )


def dashed(parser: ArgumentParser) -> ArgumentParser:
    """Spell the options with dashes, as is usual on a command line."""
    for action in parser._actions:
        for old in [s for s in action.option_strings if "_" in s]:
            new = old.replace("_", "-")
            action.option_strings = [new if s == old else s for s in action.option_strings]
            parser._option_string_actions[new] = parser._option_string_actions.pop(old)
    return parser


def own_space(name: str) -> str:
    """Return what a command over a user's own space needs once more; nothing for published ones."""
    return _own("space", name)


def own_strategy(name: str) -> str:
    """Return what going on with a user's own strategy needs once more; nothing for others."""
    return _own("strategy", name)


def _own(option: str, name: str) -> str:
    return f" --{option} {shlex.quote(name)}" if names_file(name) else ""


def add_space(parser: ArgumentParser, default: str | None) -> None:
    """Add --space and --space-options."""
    parser.add_argument(
        "--space",
        default=default,
        help="a published space (`ddpnas spaces`) or your own: my_file.py:network",
    )
    add_space_options(parser)


def add_own_space(parser: ArgumentParser) -> None:
    """Add --space where the space is known, and only code in a file has to be named again."""
    parser.add_argument(
        "--space",
        help="of a space of your own: its my_file.py:network once more, which is executed",
    )


def add_space_options(parser: ArgumentParser) -> None:
    """Add --space-options."""
    parser.add_argument(
        "--space-options",
        type=dict[str, Any],
        default={},
        help="of the space, one by one: --space-options.channels 8",
    )


def add_limit(parser: ArgumentParser) -> None:
    """Add --limit."""
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        help="macs=20M (at most), macs>=10M or macs=10M..20M; may be repeated; K, M and G are "
        "thousands, millions, ...",
    )


def add_json(parser: ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_seed_and_device(parser: ArgumentParser) -> None:
    """Add --seed and --device."""
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def add_quiet(parser: ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="no progress, results only")


def parse_limits(texts: list[str]) -> dict[str, Limit]:
    """Return limits from texts such as ``macs=20M``, ``macs>=10M`` or ``macs=10M..20M``.

    Raises:
        OptionError: a text of another form, or a limit named twice.
    """
    limits: dict[str, Limit] = {}
    for text in texts:
        found = re.fullmatch(r"\s*([^<>=\s]+?)\s*(<=|>=|=)\s*([^<>=]+?)\s*", text)
        name, relation, ends = found.groups() if found else ("", "", "")
        low, dots, up = ends.partition("..")
        try:
            amounts = [_amount(end) for end in ((low, up) if dots else (low,))]
        except ValueError:
            name = ""
        if not name or name in limits or (dots and relation != "="):
            raise OptionError(
                f"cannot read the limit {text!r}; one limit a cost, such as --limit macs=20M, "
                "macs>=10M or macs=10M..20M"
            )
        if dots:
            limits[name] = (amounts[0], amounts[1])
        else:
            limits[name] = (amounts[0], math.inf) if relation == ">=" else amounts[0]
    return limits


def _amount(text: str) -> float:
    scales = {"K": 1e3, "M": 1e6, "G": 1e9}
    scale = scales.get(text[-1:].upper(), 1.0)
    value = float(text[:-1] if scale != 1.0 else text) * scale
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def fields(kind: Any, options: Namespace) -> Any:
    """Return the dataclass with its fields taken from the options."""
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})
