"""``ddpnas spaces``, ``strategies``, ``evaluators`` and ``data``: lists, and one entry each."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping

import docstring_parser
import yaml
from docstring_parser import Docstring
from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_limit, add_space_options, new_parser
from ddpnas.cli._presets import PRESETS
from ddpnas.cli.spaces import show_space
from ddpnas.data.load import list_data, load_data
from ddpnas.data.sieves import list_sieves, sieve_class, sieve_options
from ddpnas.errors import OptionError
from ddpnas.evaluators.registry import (
    evaluator_class,
    evaluator_config,
    evaluator_options,
    list_evaluators,
)
from ddpnas.generation.limits import parse_limits
from ddpnas.runs.run import Run
from ddpnas.spaces.registry import about_space, list_spaces, named_space, takes_limits
from ddpnas.strategies.registry import constructor_options, list_strategies, strategy_class
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.utils.settings import Pixels

__all__ = ["COMMANDS"]


def _spaces_parser() -> ArgumentParser:
    parser = new_parser("list the search spaces, or show one")
    parser.add_argument("name", nargs="?", help="name of a space, or your own: my_file.py:network")
    parser.add_argument("--run", help="show the space of this run, at the size of its search")
    parser.add_argument("--image-size", type=Pixels, help="pixels a side of color images")
    add_space_options(parser)
    add_limit(parser)
    return parser


def _strategies_parser() -> ArgumentParser:
    parser = new_parser("list the search strategies, or the options of one")
    parser.add_argument(
        "name",
        nargs="?",
        help="name of a strategy or preset, or your own strategy: my_file.py:MyStrategy",
    )
    return parser


def _evaluators_parser() -> ArgumentParser:
    parser = new_parser("list the evaluators, or the options of one")
    parser.add_argument("name", nargs="?", help="name of an evaluator")
    return parser


def _data_parser() -> ArgumentParser:
    return new_parser("list embedded images, forms of data, and sieves")


def spaces(options: Namespace) -> None:
    """``ddpnas spaces``, with or without the name of a space."""
    limits, given = parse_limits(options.limit), dict(options.space_options or {})
    run = None if options.run is None else Run(options.run)
    if options.image_size is not None:
        shape = (3,) if run is None else run.data_about["input_shape"]
        channels, *_ = given.get("input_shape", shape)
        given["input_shape"] = (channels, options.image_size, options.image_size)
    if run is not None:
        show_space(run.space(options.name, options=given), limits)
        return
    if options.name is not None:
        if limits and takes_limits(options.name):
            given["limits"] = limits
        show_space(named_space(options.name, given), limits)
        return
    if limits or given:
        raise OptionError("which space? Name it, such as `ddpnas spaces edge`, or give --run")
    show.table(["space", "description"], [[name, about_space(name)] for name in list_spaces()])
    show.line("one space: ddpnas spaces NAME; your own: ddpnas spaces my_file.py:network")


def strategies(options: Namespace) -> None:
    """``ddpnas strategies``, with or without the name of a strategy or a preset."""
    if options.name is None:
        _show_names("strategy", {name: strategy_class(name) for name in list_strategies()})
        rows = [[name, preset.about] for name, preset in PRESETS.items()]
        show.table(["preset", "description"], rows)
        show.line(
            "a preset in a search: ddpnas search --preset NAME; as YAML: ddpnas strategies NAME"
        )
        show.line(
            "options of one strategy: ddpnas strategies NAME; your own: ddpnas strategies "
            "my_file.py:MyStrategy"
        )
        return
    if options.name in PRESETS:
        preset = PRESETS[options.name]
        show.line(f"# {preset.about}")
        show.line(yaml.safe_dump(preset.options, sort_keys=False).rstrip())
        show.line(f"# in a search: --preset {options.name}; changed in a file: --config FILE.yaml")
        return
    named = NamedStrategy.read(options.name)
    made = named.made()
    explained = [p for kind in reversed(made.__mro__) for p in _documented(kind).params]
    meanings = {p.arg_name: " ".join((p.description or "").split()) for p in explained}
    parameters = constructor_options(made).items()
    rows = [[n, _default(parameter), meanings.get(n, "")] for n, parameter in parameters]
    title = _documented(made).short_description
    show.table(["option", "default", "meaning"], rows, title=title)
    word = shlex.quote(options.name)
    show.line(f"in a search: --strategy {word} --strategy-options.NAME VALUE")


def evaluators(options: Namespace) -> None:
    """``ddpnas evaluators``, with or without the name of an evaluator."""
    if options.name is None:
        _show_names("evaluator", {name: evaluator_class(name) for name in list_evaluators()})
        show.line("options of one evaluator: ddpnas evaluators NAME")
        return
    documented = _documented(type(evaluator_config(options.name, {})))
    meanings = {p.arg_name: " ".join((p.description or "").split()) for p in documented.params}
    rows = [[n, str(v), meanings[n]] for n, v in evaluator_options(options.name).items()]
    show.table(["option", "default", "meaning"], rows, title=documented.short_description)
    show.line(f"in a search: --evaluator {options.name} --evaluator-options.NAME VALUE")


def _show_names(kind: str, classes: Mapping[str, type]) -> None:
    """Print names with the first sentence of their documentation."""
    rows = [[name, str(_documented(one).short_description)] for name, one in classes.items()]
    show.table([kind, "description"], rows)


def _default(parameter: inspect.Parameter) -> str:
    return "required" if parameter.default is parameter.empty else str(parameter.default)


def _documented(made: type) -> Docstring:
    return docstring_parser.parse(inspect.getdoc(made) or "")


def data(options: Namespace) -> None:
    """``ddpnas data``."""
    rows = []
    for name in list_data():
        loaded = load_data(name)
        rows.append([name, "x".join(map(str, loaded.input_shape)), show.sizes(loaded)])
    show.table(["data", "input shape", "contents"], rows)
    show.line(
        "your own data, for --data:\n"
        "  a folder with one subfolder for each class, which ddpnas splits\n"
        "  a folder with train/ and optionally valid/ and test/, each with such subfolders\n"
        "  a .npz file with train_images (N x H x W x C, uint8), train_labels, and optionally\n"
        "    valid_images, valid_labels, test_images, test_labels and classes\n"
        "  a folder with the files of CIFAR-10, CIFAR-100 or Fashion-MNIST"
    )
    rows = []
    for name in list_sieves():
        given = ", ".join(f"{n.replace('_', '-')} {v}" for n, v in sieve_options(name).items())
        rows.append([name, str(_documented(sieve_class(name)).short_description), given])
    show.table(["sieve", "description", "options"], rows)
    show.line("in a search, a fit or a training: --sieve NAME --sieve-options.OPTION VALUE")


COMMANDS: dict[str, Command] = {
    "spaces": (_spaces_parser, spaces),
    "strategies": (_strategies_parser, strategies),
    "evaluators": (_evaluators_parser, evaluators),
    "data": (_data_parser, data),
}
