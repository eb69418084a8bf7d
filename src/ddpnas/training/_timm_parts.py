"""The parts of a training that a recipe names, from timm: optimizer, schedule, average, mix."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ddpnas.errors import OptionError
from ddpnas.space.layers import InvertedResidual
from ddpnas.training.recipes import Recipe
from ddpnas.training.steps import Mix

__all__ = [
    "average_of",
    "drop_paths_of",
    "mix_of",
    "optimizer_of",
    "remove_drop_paths",
    "schedule_of",
]


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the model's parameters that are trained."""
    from timm.optim import create_optimizer_v2

    more = {"eps": 1e-3} if recipe.optimizer == "rmsproptf" else {}  # as published with it
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        model,
        opt=recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        filter_bias_and_bn=not recipe.decay_all,
        **more,
    )
    return optimizer


def schedule_of(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_an_epoch: int) -> Any:
    """Return a timm scheduler: ``step_update(n)`` sets the learning rate after n steps.

    It depends on n alone, so a resumed training needs no state of it.
    """
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    steps = recipe.epochs * steps_an_epoch
    warm = max(1, int(steps * recipe.warmup)) if recipe.warmup > 0 else 0
    common = {
        "warmup_t": warm,
        "warmup_lr_init": recipe.warmup_from * recipe.lr,
        "t_in_epochs": False,
    }
    if recipe.schedule == "step":
        return StepLRScheduler(
            optimizer,
            decay_t=recipe.decay_epochs * steps_an_epoch,
            decay_rate=recipe.decay_rate,
            **common,
        )
    return CosineLRScheduler(
        optimizer, t_initial=max(2, steps - warm), warmup_prefix=True, **common
    )


def average_of(model: nn.Module, recipe: Recipe, steps: int) -> Any:
    """Return a timm ModelEmaV3 of weights and buffers, or None where the recipe has none.

    Args:
        model: on its device.
        recipe: its ``ema`` is the decay, at most 1 - 10 / steps.
        steps: of the whole training.
    """
    if recipe.ema <= 0:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=min(recipe.ema, 1 - 10 / max(steps, 11)))


def mix_of(recipe: Recipe, classes: int, batch_size: int) -> Mix | None:
    """Return what mixes a batch: (inputs, labels) to (inputs, probabilities), or None.

    Raises:
        OptionError: an odd batch size, of which timm's MixUp cannot pair the images.
    """
    if recipe.mixup <= 0 and recipe.cutmix <= 0:
        return None
    if batch_size % 2:
        raise OptionError(f"MixUp and CutMix need an even batch size, not {batch_size}")
    from timm.data.mixup import Mixup

    mix: Mix = Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )
    return mix


def drop_paths_of(model: nn.Module, rate: float) -> list[tuple[Any, float]]:
    """Return every drop path in the model, with its full rate.

    Those that the model has, and, for a rate above 0, one put into every block of MobileNets that
    adds its input, rising linearly with the depth, as usual there (EfficientNet's "drop connect").
    """
    from timm.layers import DropPath

    blocks = [m for m in model.modules() if isinstance(m, InvertedResidual)]
    for i, block in enumerate(blocks if rate > 0 else ()):
        if block.residual:
            block.drop = DropPath(rate * i / len(blocks))
    return [(m, float(m.drop_prob)) for m in model.modules() if isinstance(m, DropPath)]


def remove_drop_paths(model: nn.Module) -> None:
    """Take out what :func:`drop_paths_of` put in."""
    for module in model.modules():
        if isinstance(module, InvertedResidual):
            module.drop = nn.Identity()
