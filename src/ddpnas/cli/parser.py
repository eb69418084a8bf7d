"""The commands and their options, made of the dataclasses that the library itself takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ddpnas.cli import benchmark, commands
from ddpnas.data import DataConfig
from ddpnas.errors import OptionError, nearest
from ddpnas.evaluators import SupernetConfig

__all__ = ["parse"]

Command = Callable[[Namespace], None]


def parse(argv: Sequence[str]) -> tuple[Command, Namespace]:
    """Return the function to call and its arguments.

    Raises:
        OptionError: an unknown command or option (with the nearest spelling), or a wrong value.
    """
    parsers = {name: make() for name, (make, _) in _COMMANDS.items()}
    top = ArgumentParser(
        prog="ddpnas",
        description="Find a neural network for your data within your limits.",
        exit_on_error=False,
    )
    subcommands = top.add_subcommands(dest="command", required=True)
    for name, parser in parsers.items():
        subcommands.add_subcommand(name, parser, help=parser.description)
    words = list(argv)
    if not words:
        words = ["--help"]
    if not words[0].startswith("-"):
        if words[0] not in parsers:
            raise OptionError(nearest("command", words[0], parsers))
        _check_options(words[0], words[1:], parsers[words[0]])
    try:
        parsed = top.parse_args(words)
    except ArgumentError as error:
        raise OptionError(" ".join(str(error).split())) from None
    arguments = parsed[parsed.command]
    for name in {f[2:].replace("-", "_") for f in _FREE} & set(arguments.keys()):
        arguments[name] = {k.replace("-", "_"): v for k, v in arguments[name].items()}
    return _COMMANDS[parsed.command][1], arguments


_FREE = ("--space-options", "--strategy-options")  # take any --name.option


def _check_options(command: str, words: Sequence[str], parser: ArgumentParser) -> None:
    known = set(parser._option_string_actions)
    for word in words:
        if not word.startswith("--") or word == "--":
            continue
        name = word.split("=")[0].rstrip("+")
        if name not in known and name.split(".")[0] not in _FREE:
            raise OptionError(nearest(f"option of `ddpnas {command}`", name, known))


def _parser(description: str) -> ArgumentParser:
    return ArgumentParser(description=description, exit_on_error=False)


def _dashed(parser: ArgumentParser) -> ArgumentParser:
    """Spell the options with dashes, as is usual on a command line."""
    for action in parser._actions:
        for old in [s for s in action.option_strings if "_" in s]:
            new = old.replace("_", "-")
            action.option_strings = [new if s == old else s for s in action.option_strings]
            parser._option_string_actions[new] = parser._option_string_actions.pop(old)
    return parser


def _add_space(parser: ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--space",
        default=default,
        help="a published space (`ddpnas spaces`) or your own: my_file.py:network",
    )
    _add_space_options(parser)


def _add_space_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--space-options",
        type=dict[str, Any],
        default={},
        help="of the space, one by one: --space-options.channels 8",
    )


def _add_limit(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        help="macs=20M, params=500K; may be repeated; K, M and G are thousands, millions, ...",
    )


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_seed_and_device(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def _add_quiet(parser: ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, results only")


def _search() -> ArgumentParser:
    parser = _parser("search a space on your images and keep everything in a run folder")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    _add_space(parser, "nasbench201")
    parser.add_class_arguments(DataConfig, None)
    parser.add_argument("--strategy", default="ddpnas", help="see `ddpnas strategies`")
    parser.add_argument("--strategy-options", type=dict[str, Any], default={})
    parser.add_class_arguments(SupernetConfig, "supernet")
    _add_seed_and_device(parser)
    parser.add_argument("--out", default="runs/search", help="the run folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    _add_quiet(parser)
    return parser


def _resume() -> ArgumentParser:
    parser = _parser("go on with an interrupted search, to the result it would have had")
    parser.add_argument("run", help="its run folder")
    parser.add_argument("--space", help="of a run over your own space: the file, once more")
    parser.add_argument("--device", help="other than before")
    _add_quiet(parser)
    return parser


def _generate() -> ArgumentParser:
    parser = _parser("the most likely architecture within limits, proven optimal")
    parser.add_argument("run", help="folder of a finished search")
    _add_limit(parser)
    _add_space(parser, None)
    parser.add_argument(
        "--survivors-only", action="store_true", help="leave out what the search pruned"
    )
    _add_json(parser)
    return parser


def _train() -> ArgumentParser:
    parser = _parser("train the network of a run, or of any architecture, and test it")
    parser.add_argument("run", nargs="?", help="folder of a finished search")
    _add_space(parser, None)
    parser.add_argument("--architecture", help="text of the architecture; default: the run's")
    parser.add_argument("--data", help="images; default: the run's")
    parser.add_argument("--image-size", type=int, help="pixels a side; default: the run's")
    parser.add_argument("--limit-train-images", type=int, help="train on so many images only")
    parser.add_argument("--recipe", default="quick", help="how it is trained")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument(
        "--random",
        type=int,
        default=0,
        help="also train so many random architectures within the same limits, to compare",
    )
    _add_seed_and_device(parser)
    parser.add_argument("--out", help="folder for the result; default: RUN/trained")
    parser.add_argument("--overwrite", action="store_true", help="replace what --out holds")
    _add_quiet(parser)
    return parser


def _spaces() -> ArgumentParser:
    parser = _parser("list the published search spaces, or tell what one of them holds")
    parser.add_argument("name", nargs="?", help="of a space, or your own: my_file.py:network")
    _add_space_options(parser)
    _add_limit(parser)
    return parser


def _strategies() -> ArgumentParser:
    return _parser("list the search strategies and their options")


def _data() -> ArgumentParser:
    return _parser("list the embedded images and what --data takes")


def _benchmark() -> ArgumentParser:
    parser = _parser("compare strategies on a table of trained networks, with many seeds")
    benchmark.add_arguments(parser)
    return parser


_COMMANDS: dict[str, tuple[Callable[[], ArgumentParser], Command]] = {
    "search": (lambda: _dashed(_search()), commands.search),
    "resume": (lambda: _dashed(_resume()), commands.resume),
    "generate": (lambda: _dashed(_generate()), commands.generate),
    "train": (lambda: _dashed(_train()), commands.train),
    "benchmark": (_benchmark, benchmark.benchmark),
    "spaces": (_spaces, commands.spaces),
    "strategies": (_strategies, commands.strategies),
    "data": (_data, commands.data),
}
