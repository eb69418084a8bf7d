"""The space of the final network, which may be larger than the space that was searched."""

from __future__ import annotations

from typing import Any

from ddpnas.space.search_space import SearchSpace
from ddpnas.training.recipes import Recipe, create_recipe

__all__ = ["final_space", "inference_space"]


def final_space(space: SearchSpace, recipe: Recipe | str, **options: Any) -> SearchSpace:
    """Return the space at the size that a recipe gives the final network.

    Args:
        space: The space as it was searched.
        recipe: See :func:`ddpnas.training.create_recipe`. Its ``network`` may name options for
            the space.
        options: Options of the space; they override those of the recipe.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("darts", channels=4, cells=3)
        >>> final_space(space, "cifar", cells=3).plain_options["channels"]
        36
    """
    changes = {**create_recipe(recipe).network.get(str(space.name), {}), **options}
    return space.with_options(**changes) if changes else space


def inference_space(space: SearchSpace) -> SearchSpace:
    """Return the space without what its networks have for training only.

    This switches off auxiliary heads and drop path, the options ``auxiliary`` and ``drop_path``.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("darts", channels=4, cells=3, auxiliary=True)
        >>> inference_space(space).plain_options["auxiliary"]
        False
    """
    off = {"auxiliary": False, "drop_path": 0.0}
    changes = {name: value for name, value in off.items() if space.options.get(name)}
    return space.with_options(**changes) if changes else space
