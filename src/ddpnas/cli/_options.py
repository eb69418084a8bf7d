"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader

from ddpnas.cli._help import HelpFormatter
from ddpnas.errors import OptionError
from ddpnas.space.user_code import names_file
from ddpnas.utils.read import require_plain_yaml
from ddpnas.utils.settings import Seed
from ddpnas.utils.shapes import hints_of

__all__ = [
    "FREE",
    "Command",
    "Parser",
    "add_costs",
    "add_json",
    "add_limit",
    "add_own_network",
    "add_own_space",
    "add_quiet",
    "add_scoring",
    "add_seed_and_device",
    "add_sieve",
    "add_space",
    "add_space_options",
    "add_start",
    "dashed",
    "fields",
    "new_parser",
    "only_network",
    "own_network",
    "own_space",
    "own_strategy",
]

# A command: the function that makes its parser, and the function to call with the options.
Command = tuple[Callable[[], ArgumentParser], Callable[[Namespace], None]]

FREE = (  # take any --name.option
    "--space-options",
    "--strategy-options",
    "--evaluator-options",
    "--sieve-options",
    "--recipe-options",
)

_load_yaml = get_loader("yaml")


def _load(text: str) -> Any:
    """Return what a value on the command line or in a configuration says, as jsonargparse does.

    It uses a YAML loader that follows aliases and nests without end.
    """
    try:
        require_plain_yaml(text)
        return _load_yaml(text)
    except (ValueError, TypeError, AttributeError) as error:  # not quite a number, date or set
        raise yaml.YAMLError(str(error)) from None


set_loader("yaml", _load, (yaml.YAMLError,))


class Parser(ArgumentParser):
    """A parser that remembers what each option may be, ranges included.

    jsonargparse checks types. Ranges, and the sentence about a wrong value, come from
    :func:`ddpnas.utils.settings.checked`, as they do in Python.

    Attributes:
        declared: Annotation of each option.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.declared: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an option, with a ``type`` that may have a range."""
        hint = kwargs.get("type")
        if typing.get_origin(hint) is Annotated:
            kwargs["type"] = typing.get_args(hint)[0]
        action = super().add_argument(*args, **kwargs)
        if hint is not None and hasattr(self, "declared"):  # the groups of jsonargparse have none
            self.declared[action.dest] = hint if action.default is not None else hint | None
        return action

    def add_class_arguments(self, theclass: type, *args: Any, **kwargs: Any) -> Any:
        """Add the settings of a dataclass."""
        self.declared |= hints_of(theclass)
        return super().add_class_arguments(theclass, *args, **kwargs)


def new_parser(description: str, example: str | None = None) -> Parser:
    """Return an empty parser that raises instead of exiting.

    Args:
        description: What the command does. Its first sentence stands in the list of commands.
        example: A command that stands at the end of its help.
    """
    return Parser(
        description=description,
        epilog=None if example is None else f"example: {example}",
        exit_on_error=False,
        print_config="--print-config",
        formatter_class=HelpFormatter,
    )


def dashed(parser: ArgumentParser) -> Parser:
    """Spell the options with dashes, as is usual on a command line."""
    assert isinstance(parser, Parser), "all parsers come from new_parser()"
    for action in parser._actions:
        for old in [s for s in action.option_strings if "_" in s]:
            new = old.replace("_", "-")
            action.option_strings = [new if s == old else s for s in action.option_strings]
            parser._option_string_actions[new] = parser._option_string_actions.pop(old)
    return parser


def own_network(name: str) -> str:
    """Return the option that names a user's own network again; nothing for one of a library."""
    return _own("network", name)


def own_space(name: str) -> str:
    """Return the option that names a user's own space again; nothing for a published space."""
    return _own("space", name)


def own_strategy(name: str) -> str:
    """Return the option that names a user's own strategy again; nothing for others."""
    return _own("strategy", name)


def only_network(given: Sequence[str]) -> str | None:
    """Return the one network that may be named again; None if none is.

    Raises:
        OptionError: Several are named.
    """
    if len(given) > 1:
        raise OptionError("only a fit has several networks; give --network once")
    return next(iter(given), None)


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
    """Add --space for commands on a run: only a user's file has to be named again."""
    parser.add_argument(
        "--space",
        help="name your own space again, my_file.py:network; the file is executed",
    )


def add_own_network(parser: ArgumentParser) -> None:
    """Add --network for commands on a trained network: a user's file has to be named again."""
    parser.add_argument(
        "--network",
        help="name your own network again, my_file.py:function; the file is executed",
    )


def add_space_options(parser: ArgumentParser) -> None:
    """Add --space-options."""
    parser.add_argument(
        "--space-options",
        type=dict[str, Any],
        default={},
        help="options of the space, one by one: --space-options.channels 8",
    )


def add_sieve(parser: ArgumentParser) -> None:
    """Add --sieve and --sieve-options."""
    parser.add_argument(
        "--sieve", default="all", help="rule for which images an epoch reads (`ddpnas data`)"
    )
    parser.add_argument(
        "--sieve-options",
        type=dict[str, Any],
        default={},
        help="options of the sieve, one by one: --sieve-options.keep 0.4",
    )


def add_limit(parser: ArgumentParser, *, shares: bool = False) -> None:
    """Add --limit; ``shares`` says that it may be a share of a given network's cost."""
    more = "; macs=50% is a share of the given network's" if shares else ""
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        help="limit on a cost: macs=20M (at most), macs>=10M or macs=10M..20M; may be repeated; "
        f"K, M and G mean thousands, millions and billions{more}",
    )


def add_costs(parser: ArgumentParser) -> None:
    """Add --costs."""
    parser.add_argument(
        "--costs",
        action="append",
        default=[],
        help="JSON file with another cost table (latency, energy, ...); may be repeated",
    )


def add_start(parser: ArgumentParser, instead: str) -> None:
    """Add --start, --weights and --teacher, which name networks that are trained already.

    Args:
        parser: The parser.
        instead: What the command does without --start.
    """
    parser.add_argument(
        "--start",
        help=f"fine-tune this network instead of {instead}: timm:NAME, torchvision:NAME, "
        "FILE.py:function (the file is executed), or the folder of a trained network",
    )
    parser.add_argument(
        "--weights", help="file of weights for --start (.safetensors or .pth) instead of a download"
    )
    parser.add_argument(
        "--teacher",
        help="network to distil from, trained on the same classes; named as for --start",
    )


def add_json(parser: ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_seed_and_device(parser: ArgumentParser) -> None:
    """Add --seed and --device."""
    parser.add_argument("--seed", type=Seed, default=0, help="random seed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def add_quiet(parser: ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="print results only, no progress")


def add_scoring(parser: ArgumentParser) -> None:
    """Add --metric and --class-weights, for classes of unequal size."""
    parser.add_argument(
        "--metric",
        help="measure that chooses the best network or epoch on validation images: accuracy "
        "(default) or macro-f1",
    )
    parser.add_argument(
        "--class-weights",
        help="balanced: each class counts alike in the loss, however many images it has; "
        "default: none",
    )


def fields(kind: Any, options: Namespace) -> Any:
    """Return a dataclass, its fields taken from the options of the same name."""
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})
