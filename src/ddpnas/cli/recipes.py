"""``ddpnas recipes``."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, new_parser
from ddpnas.training.recipes import RECIPES, create_recipe

__all__ = ["COMMANDS"]


def _recipes_parser() -> ArgumentParser:
    parser = new_parser("list the training recipes, or print one as YAML")
    parser.add_argument("name", nargs="?", help="name of a recipe, or a .yaml file")
    return parser


def recipes(options: Namespace) -> None:
    """Run ``ddpnas recipes``."""
    if options.name is not None:
        show.line(create_recipe(options.name).to_yaml().rstrip())
        return
    show.table(
        ["recipe", "length", "source"],
        [
            [
                name,
                f"{recipe.steps:,} steps" if recipe.epochs is None else f"{recipe.epochs:,} epochs",
                recipe.source,
            ]
            for name, recipe in RECIPES.items()
        ],
    )
    show.line("`ddpnas recipes cifar` prints a recipe; `ddpnas train --recipe cifar` uses it")


COMMANDS: dict[str, Command] = {
    "recipes": (_recipes_parser, recipes),
}
