"""The commands and their options, made of the dataclasses that the library itself takes."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Callable, Sequence

import torch
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ddpnas._version import __version__
from ddpnas.cli import (
    benchmark,
    export,
    frontier,
    generate,
    latency,
    lists,
    recipes,
    report,
    search,
    train,
)
from ddpnas.cli import evaluate as trained
from ddpnas.cli._options import FREE, Command, dashed
from ddpnas.errors import OptionError, nearest
from ddpnas.training.distributed import launched
from ddpnas.utils.options import check_seed

__all__ = ["parse"]

TOGETHER = ("search", "resume", "train")  # commands that several processes may run together

# Options that --help shows of commands with many; --help-all shows all.
SHOWN = {
    "search": (
        "--preset", "--data", "--image-size", "--space", "--strategy", "--evaluator", "--seed",
        "--device", "--out", "--overwrite",
    ),
    "train": (
        "run", "--data", "--recipe", "--epochs", "--random", "--same-size", "--baseline", "--seed",
        "--device", "--out", "--resume", "--overwrite",
    ),
}  # fmt: skip

COMMANDS: dict[str, Command] = {
    **search.COMMANDS,
    **generate.COMMANDS,
    **frontier.COMMANDS,
    **latency.COMMANDS,
    **train.COMMANDS,
    **trained.COMMANDS,
    **export.COMMANDS,
    **report.COMMANDS,
    **benchmark.COMMANDS,
    **lists.COMMANDS,
    **recipes.COMMANDS,
}


def parse(argv: Sequence[str]) -> tuple[Callable[[Namespace], None], Namespace]:
    """Return the function to call and its arguments.

    Raises:
        OptionError: an unknown command or option (with the nearest spelling), or a wrong value.
    """
    words = list(argv) or ["--help"]
    top = ArgumentParser(
        prog="ddpnas",
        description="Find a neural network for your data within your limits.",
        version=f"{__version__}, torch {torch.__version__}",
        exit_on_error=False,
    )
    subcommands = top.add_subcommands(dest="command", required=True)
    named = [words[0]] if words[0] in COMMANDS else list(COMMANDS)  # each takes a while to make
    for name in named:
        parser = dashed(COMMANDS[name][0]())
        if name in SHOWN and {"-h", "--help"} & set(words):
            _hide_options(parser, name)
        subcommands.add_subcommand(name, parser, help=parser.description)
    if not words[0].startswith("-"):
        if words[0] not in COMMANDS:
            raise OptionError(nearest("command", words[0], COMMANDS))
        _check_options(words[0], words[1:], parser)
        if launched() > 1 and words[0] not in TOGETHER:
            raise OptionError(
                f"`ddpnas {words[0]}` runs in one process, start it without torchrun or "
                f"accelerate; several may run {', '.join(TOGETHER)}"
            )
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        parsed = top.parse_args(words)
    except ArgumentError as error:
        raise OptionError(" ".join(str(error).split())) from None
    arguments = parsed[parsed.command]
    for name in {f[2:].replace("-", "_") for f in FREE} & set(arguments.keys()):
        arguments[name] = {k.replace("-", "_"): v for k, v in arguments[name].items()}
    check_seed(arguments.get("seed", 0))
    return COMMANDS[parsed.command][1], arguments


def _hide_options(parser: ArgumentParser, command: str) -> None:
    """Leave the options that few people set out of a command's help; they stay valid."""
    for action in parser._actions:
        names = {action.dest, *action.option_strings}
        if not names & {*SHOWN[command], "--help"}:
            action.help = SUPPRESS
    parser.epilog = f"more options: ddpnas {command} --help-all"


def _check_options(command: str, words: Sequence[str], parser: ArgumentParser) -> None:
    known = {*parser._option_string_actions, "--help-all"}
    for word in words:
        if not word.startswith("--") or word == "--":
            continue
        name = word.split("=")[0].rstrip("+")
        if name not in known and name.split(".")[0] not in FREE:
            raise OptionError(nearest(f"option of `ddpnas {command}`", name, known))
