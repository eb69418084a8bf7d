"""Protections of a training: its length, a second attempt, and a word on how it ended.

A few passes over a small set are a handful of steps, so the length of a training follows from the
number of steps (:func:`planned_epochs`). A learning rate that is too high for a network shows when
it has reached its height: the network still knows only how frequent each class is. The training
then starts again, once, with a quarter of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddpnas.data.data import Data
from ddpnas.data.loader import default_batch_size
from ddpnas.data.sieves import SieveConfig
from ddpnas.data.splits import Split
from ddpnas.errors import OptionError
from ddpnas.training.recipes import Recipe

__all__ = [
    "RETRY",
    "first_steps",
    "planned_epochs",
    "refuse_sieve",
    "still_falls",
    "trained_items",
    "trained_splits",
]

RETRY = 0.25  # part of the learning rate with which a training starts again
_LEAST_EPOCHS = 10
_FIRST_STEPS = 100  # after which a network has learned something, at least
# The last part of a training, and the share of the whole fall of the loss that is a lot for it.
# The learning rate falls to 0 in it, so the loss always falls a little.
_LAST, _STILL = 0.25, 0.03


def trained_splits(data: Data, recipe: Recipe) -> list[Split]:
    """Return what is trained on: validation images too, unless they are kept to measure on."""
    apart = data.test is None or recipe.keep_best
    return [data.train] if apart else [data.train, data.valid]


def trained_items(data: Data, recipe: Recipe) -> int:
    """Return the number of items of an epoch of training."""
    return sum(map(len, trained_splits(data, recipe)))


def planned_epochs(recipe: Recipe, data: Data) -> int:
    """Return the number of epochs: the recipe's, or as many as its number of steps takes.

    Args:
        recipe: With ``epochs``, or with ``steps`` and at least 10 epochs.
        data: What it trains on.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(200, 5), torch.arange(200) % 2))
        >>> planned_epochs(Recipe(steps=500), data)  # 160 images to train on, 10 steps an epoch
        50
        >>> planned_epochs(Recipe(epochs=3), data)
        3
    """
    if recipe.epochs is not None:
        return recipe.epochs
    items = trained_items(data, recipe)
    steps = max(1, items // (recipe.batch_size or default_batch_size(items)))
    return max(_LEAST_EPOCHS, math.ceil(recipe.steps / steps))


def first_steps(recipe: Recipe, steps: int) -> int:
    """Return after how many steps a network has to have learned something.

    Args:
        recipe: Its learning rate has reached its height by then.
        steps: Number of steps of the whole training.
    """
    return max(_FIRST_STEPS, math.ceil(recipe.warmup * steps))


def refuse_sieve(
    config: SieveConfig, recipe: Recipe, *, fewest: int, batch_size: int, mixed: bool, taught: bool
) -> None:
    """Refuse a sieve that cannot run in a training.

    Args:
        config: The sieve.
        recipe: How the network is trained.
        fewest: Images that the sieve leaves in its smallest epoch.
        batch_size: Images of a step.
        mixed: Whether the recipe mixes images.
        taught: Whether there is a teacher.

    Raises:
        OptionError: It cannot run.
    """
    if config.observes and mixed:
        raise OptionError(
            f"sieve {config.name!r} learns from what the network says of each image, and this "
            f"recipe mixes images; use --sieve random, or a recipe without mixup and cutmix"
        )
    if config.narrows and taught:
        raise OptionError(
            f"a teacher answers for all classes, and sieve {config.name!r} trains some of "
            f"them; leave out either"
        )
    if config.narrows and recipe.class_weights != "none":
        raise OptionError(
            f"class weights are for all classes, and sieve {config.name!r} trains some of "
            f"them; leave out either"
        )
    if config.valid_keep < 1:
        raise OptionError(
            "valid_keep is for searches: a training reads all validation images; leave it out"
        )
    if config.sieves and fewest < batch_size:
        raise OptionError(
            f"sieve {config.name!r} leaves {fewest} images in an epoch, fewer than a "
            f"batch of {batch_size}; keep more, or give a smaller batch_size"
        )


def still_falls(losses: Sequence[float]) -> bool:
    """Return whether more epochs would have lowered the loss further.

    Args:
        losses: Mean training loss of each epoch.

    Example:
        >>> still_falls([2.4, 2.3, 2.1, 2.1, 1.9, 1.9, 1.8, 1.8])
        True
        >>> still_falls([2.4, 1.0, 0.7, 0.64, 0.6, 0.58, 0.57, 0.57])
        False
    """
    last = max(1, round(_LAST * len(losses)))
    if last == len(losses):
        return False
    return losses[-1 - last] - losses[-1] > _STILL * (losses[0] - losses[-1])
