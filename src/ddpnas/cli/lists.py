"""``ddpnas spaces``, ``strategies``, ``evaluators`` and ``data``: what there is."""

from __future__ import annotations

import inspect
import shlex

import docstring_parser
from docstring_parser import Docstring
from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_limit, add_space_options, new_parser
from ddpnas.cli.spaces import show_space
from ddpnas.data.load import list_data, load_data
from ddpnas.evaluators.registry import (
    evaluator_class,
    evaluator_config,
    evaluator_options,
    list_evaluators,
)
from ddpnas.generation.limits import parse_limits
from ddpnas.spaces.registry import about_space, list_spaces
from ddpnas.strategies.registry import constructor_options, list_strategies, strategy_class
from ddpnas.strategies.user_strategy import NamedStrategy

__all__ = ["COMMANDS"]


def _spaces_parser() -> ArgumentParser:
    parser = new_parser("list the published search spaces, or tell what one of them holds")
    parser.add_argument("name", nargs="?", help="of a space, or your own: my_file.py:network")
    add_space_options(parser)
    add_limit(parser)
    return parser


def _strategies_parser() -> ArgumentParser:
    parser = new_parser("list the search strategies, or the options of one of them")
    parser.add_argument("name", nargs="?", help="of a strategy, or your own: my_file.py:MyStrategy")
    return parser


def _evaluators_parser() -> ArgumentParser:
    parser = new_parser("list where scores may come from, or the options of one evaluator")
    parser.add_argument("name", nargs="?", help="of an evaluator")
    return parser


def _data_parser() -> ArgumentParser:
    return new_parser("list the embedded images and what --data takes")


def spaces(options: Namespace) -> None:
    """``ddpnas spaces``, or of one of them with its name."""
    if options.name is not None:
        show_space(options.name, options.space_options, parse_limits(options.limit))
        return
    show.table(["space", "what"], [[name, about_space(name)] for name in list_spaces()])
    print("one of them: ddpnas spaces NAME; your own: ddpnas spaces my_file.py:network")


def strategies(options: Namespace) -> None:
    """``ddpnas strategies``, or of one of them with its name."""
    if options.name is None:
        rows = [
            [name, str(_documented(strategy_class(name)).short_description)]
            for name in list_strategies()
        ]
        show.table(["strategy", "what"], rows)
        print(
            "the options of one of them: ddpnas strategies NAME; your own: ddpnas strategies "
            "my_file.py:MyStrategy"
        )
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
    print(f"in a search: --strategy {word} --strategy-options.NAME VALUE")


def evaluators(options: Namespace) -> None:
    """``ddpnas evaluators``, or of one of them with its name."""
    if options.name is None:
        rows = [
            [name, str(_documented(evaluator_class(name)).short_description)]
            for name in list_evaluators()
        ]
        show.table(["evaluator", "what"], rows)
        print("the options of one of them: ddpnas evaluators NAME")
        return
    documented = _documented(type(evaluator_config(options.name, {})))
    meanings = {p.arg_name: " ".join((p.description or "").split()) for p in documented.params}
    rows = [[n, str(v), meanings[n]] for n, v in evaluator_options(options.name).items()]
    show.table(["option", "default", "meaning"], rows, title=documented.short_description)
    print(f"in a search: --evaluator {options.name} --evaluator-options.NAME VALUE")


def _default(parameter: inspect.Parameter) -> str:
    return "needed" if parameter.default is parameter.empty else str(parameter.default)


def _documented(made: type) -> Docstring:
    return docstring_parser.parse(inspect.getdoc(made) or "")


def data(options: Namespace) -> None:
    """``ddpnas data``."""
    rows = []
    for name in list_data():
        loaded = load_data(name)
        rows.append([name, "x".join(map(str, loaded.input_shape)), show.sizes(loaded)])
    show.table(["data", "image", "what"], rows)
    print(
        "your own: --data FOLDER with train/ and optionally valid/ and test/, one folder for each "
        "class in\nthem; or such class folders only; or a .npz with train_images (N x H x W x C, "
        "uint8) and train_labels\n(likewise valid_ and test_, and classes); or a directory with "
        "CIFAR-10, CIFAR-100 or Fashion-MNIST files"
    )


COMMANDS: dict[str, Command] = {
    "spaces": (_spaces_parser, spaces),
    "strategies": (_strategies_parser, strategies),
    "evaluators": (_evaluators_parser, evaluators),
    "data": (_data_parser, data),
}
