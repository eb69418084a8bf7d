"""The commands and their options, made of the dataclasses that the library itself takes."""

from __future__ import annotations

import contextlib
import difflib
import re
from argparse import SUPPRESS, _AppendAction
from collections.abc import Callable, Collection, Sequence

import jsonargparse
import torch
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ddpnas._version import __version__
from ddpnas.cli import (
    benchmark,
    export,
    fit,
    frontier,
    generate,
    latency,
    lists,
    recipes,
    report,
    search,
    shrink,
    train,
)
from ddpnas.cli import evaluate as trained
from ddpnas.cli._help import HelpFormatter
from ddpnas.cli._options import FREE, Command, Parser, dashed
from ddpnas.data.sieves import sieve_options
from ddpnas.errors import OptionError, nearest
from ddpnas.evaluators.registry import evaluator_options
from ddpnas.runs.config import RunConfig
from ddpnas.spaces.registry import space_options
from ddpnas.strategies.registry import strategy_options
from ddpnas.training.distributed import launched
from ddpnas.training.recipes import Recipe
from ddpnas.utils.settings import checked
from ddpnas.utils.shapes import hints_of, shown

__all__ = ["parse"]

_REPEATABLE = (_AppendAction, jsonargparse.ActionConfigFile)  # type: ignore[attr-defined]

TOGETHER = ("search", "resume", "train")  # commands that several processes may run together

# Options that --help shows of commands with many; --help-all shows all.
SHOWN = {
    "fit": (
        "data", "--limit", "--minutes", "--out", "--start", "--baseline", "--image-size",
        "--metric", "--class-weights", "--seed", "--device", "--overwrite", "--json",
    ),
    "search": (
        "--preset", "--data", "--image-size", "--limit", "--space", "--strategy", "--evaluator",
        "--sieve", "--seed", "--device", "--out", "--overwrite",
    ),
    "train": (
        "run", "--data", "--recipe", "--epochs", "--random", "--same-size", "--baseline", "--seed",
        "--device", "--out", "--resume", "--overwrite",
    ),
}  # fmt: skip

# In the order of `ddpnas --help`: first the two whole jobs, then a search step by step.
COMMANDS: dict[str, Command] = {
    **fit.COMMANDS,
    **shrink.COMMANDS,
    **search.COMMANDS,
    **generate.COMMANDS,
    **frontier.COMMANDS,
    **train.COMMANDS,
    **trained.COMMANDS,
    **export.COMMANDS,
    **report.COMMANDS,
    **latency.COMMANDS,
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
    if strange := [word for word in words if "\0" in word]:
        raise OptionError(f"arguments cannot contain null characters, as {strange[0]!r} does")
    top = ArgumentParser(
        prog="ddpnas",
        description="Find a neural network for your data within your limits.",
        epilog="begin with: ddpnas fit photos/ --limit macs=20M --minutes 10\n"
        "explain a command: ddpnas COMMAND --help",
        version=f"{__version__}, torch {torch.__version__}",
        exit_on_error=False,
        formatter_class=HelpFormatter,
    )
    subcommands = top.add_subcommands(
        dest="command", required=True, metavar="COMMAND", title="commands", description=None
    )
    named = [words[0]] if words[0] in COMMANDS else list(COMMANDS)  # each takes a while to make
    for name in named:
        parser = dashed(COMMANDS[name][0]())
        if name in SHOWN and {"-h", "--help"} & set(words):
            _hide_options(parser, name)
        subcommands.add_subcommand(name, parser, help=(parser.description or "").partition(". ")[0])
    if not words[0].startswith("-"):
        if words[0] not in COMMANDS:
            raise OptionError(nearest("command", words[0], COMMANDS))
        _check_options(words[0], words[1:], parser)
        if launched() > 1 and words[0] not in TOGETHER:
            raise OptionError(
                f"`ddpnas {words[0]}` runs in one process; start it without torchrun or "
                f"accelerate; several may run {', '.join(TOGETHER)}"
            )
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        parsed = top.parse_args(words)
    except ArgumentError as error:
        text = " ".join(str(error).split())
        _explain(text, parser)
        _explain_words(text, words[0])
        raise OptionError(text) from None
    arguments = parsed[parsed.command]
    for name, hint in parser.declared.items():
        if name in arguments:
            arguments[name] = checked(_spelled(name), hint, arguments[name])
    for name in {f[2:].replace("-", "_") for f in FREE} & set(arguments.keys()):
        arguments[name] = {k.replace("-", "_"): v for k, v in arguments[name].items()}
    return COMMANDS[parsed.command][1], arguments


def _explain(text: str, parser: Parser) -> None:
    """Raise an :class:`OptionError` with the sentence of the option that jsonargparse refused."""
    found = re.match(r'Parser key "(\w+)"', text)
    given = re.search(r"Given value: (.*)$", text) or re.search(r"Got value: (.*)$", text)
    if found and given and found[1] in parser.declared:
        checked(_spelled(found[1]), parser.declared[found[1]], given[1])


def _explain_words(text: str, command: str) -> None:
    """Raise an :class:`OptionError` for words without options that are missing or too many."""
    if missing := re.search(r"arguments are required: (.*)$", text):
        names = [name.rpartition(".")[2].upper() for name in missing[1].split(", ")]
        raise OptionError(
            f"`ddpnas {command}` needs {' and '.join(names)}; see `ddpnas {command} --help`"
        )
    if extra := re.search(r"unrecognized arguments: (.*)$", text):
        raise OptionError(
            f"`ddpnas {command}` does not know what to do with {shown(extra[1])}; a name with "
            f"spaces needs quotes, and options begin with --"
        )


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _hide_options(parser: ArgumentParser, command: str) -> None:
    """Leave the options that few people set out of a command's help; they stay valid."""
    for action in parser._actions:
        names = {action.dest, *action.option_strings}
        if not names & {*SHOWN[command], "--help"}:
            action.help = SUPPRESS
    parser.epilog = f"{parser.epilog}\nmore options: ddpnas {command} --help-all"


def _check_options(command: str, words: Sequence[str], parser: Parser) -> None:
    """Raise :class:`OptionError` for an option that is unknown, or given twice."""
    known = {*parser._option_string_actions, "--help-all"}
    given: set[str] = set()
    for word in words:
        if not word.startswith("--") or word == "--":
            continue
        name = word.split("=")[0].rstrip("+")
        if name not in known and name.split(".")[0] not in FREE:
            raise OptionError(_unknown(command, name, parser, words))
        action = parser._option_string_actions.get(name)
        if name in given and not isinstance(action, _REPEATABLE):
            raise OptionError(f"{name} is given twice; give it once")
        given.add(name)


def _unknown(command: str, name: str, parser: Parser, words: Sequence[str]) -> str:
    """Return the message for an unknown option: where it belongs, or the nearest spelling."""
    known = {*parser._option_string_actions, "--help-all"}
    says = f"unknown option of `ddpnas {command}` {name!r}: "
    if difflib.get_close_matches(name, known, n=1, cutoff=0.9):
        return nearest(f"option of `ddpnas {command}`", name, known)
    if name[2:] in {action.dest for action in parser._actions if not action.option_strings}:
        return f"{says}give {name[2:].upper()} without it: `ddpnas {command} {name[2:].upper()}`"
    if meant := _inner_option(name, known, words):
        return f"{says}did you mean {meant!r}?"
    if homes := [other for other, (make, _) in COMMANDS.items() if name in _options(make())]:
        return f"{says}it belongs to {', '.join(f'`ddpnas {home}`' for home in homes)}"
    return nearest(f"option of `ddpnas {command}`", name, known)


def _options(parser: ArgumentParser) -> Collection[str]:
    return dashed(parser)._option_string_actions.keys()


def _inner_option(name: str, known: Collection[str], words: Sequence[str]) -> str | None:
    """Return the option of a strategy, evaluator, space or recipe that was meant, if any."""
    bare = name.removeprefix("--").replace("-", "_")
    groups: dict[str, Callable[[], Collection[str]]] = {
        "--evaluator-options": lambda: evaluator_options(_value(words, "--evaluator", "supernet")),
        "--strategy-options": lambda: strategy_options(_value(words, "--strategy", "ddpnas")),
        "--recipe-options": lambda: hints_of(Recipe),
        "--sieve-options": lambda: sieve_options(_value(words, "--sieve", "all")),
        "--space-options": lambda: space_options(_value(words, "--space", RunConfig.space)),
    }
    inner = []
    for group, options in groups.items():
        if group in known:
            with contextlib.suppress(
                OptionError
            ):  # unknown here: a user's strategy declares its options
                inner += [(group, option) for option in options()]
    same = [(group, option) for group, option in inner if option == bare]
    alike = [(group, option) for group, option in inner if bare in option.split("_")]
    return next((f"{g}.{o.replace('_', '-')}" for g, o in [*same, *alike]), None)


def _value(words: Sequence[str], option: str, default: str) -> str:
    """Return what an option was given on the command line."""
    for word, following in zip(words, [*words[1:], default], strict=True):
        if word == option or word.startswith(f"{option}="):
            return following if word == option else word.partition("=")[2]
    return default
