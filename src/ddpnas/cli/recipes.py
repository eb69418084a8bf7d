"""``ddpnas recipes``."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, new_parser
from ddpnas.training.recipes import RECIPES, create_recipe

__all__ = ["COMMANDS"]


def _recipes_parser() -> ArgumentParser:
    parser = new_parser("list the training recipes, or print one as YAML for --recipe")
    parser.add_argument("name", nargs="?", help="of a recipe, or a .yaml file of one")
    return parser


def recipes(options: Namespace) -> None:
    """``ddpnas recipes``."""
    if options.name is not None:
        print(create_recipe(options.name).to_yaml(), end="")
        return
    show.table(
        ["recipe", "epochs", "from"],
        [[name, f"{recipe.epochs:,}", recipe.source] for name, recipe in RECIPES.items()],
    )
    print("`ddpnas recipes cifar` prints one; `ddpnas train --recipe cifar` trains by it")


COMMANDS: dict[str, Command] = {
    "recipes": (_recipes_parser, recipes),
}
