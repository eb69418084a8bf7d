"""The parts of a training that a recipe names, from timm: optimizer, schedule, average, mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.errors import OptionError
from ddpnas.space.copies import copying
from ddpnas.space.layers import InvertedResidual
from ddpnas.training.recipes import Recipe
from ddpnas.training.steps import Mix

__all__ = [
    "DropPaths",
    "average_decay",
    "average_of",
    "mix_of",
    "optimizer_of",
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


def schedule_of(
    optimizer: torch.optim.Optimizer, recipe: Recipe, epochs: int, steps_an_epoch: int
) -> Any:
    """Return a timm scheduler: ``step_update(n)`` sets the learning rate after n steps.

    It depends on n alone, so a resumed training needs no state of it.
    """
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    steps = epochs * steps_an_epoch
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
    """Return a timm ModelEmaV3 of weights and buffers, or None if the recipe has no average.

    Args:
        model: The network, on its device.
        recipe: Its ``ema`` is the decay; see :func:`average_decay`.
        steps: Number of steps of the whole training.
    """
    if recipe.ema <= 0:
        return None
    from timm.utils import ModelEmaV3

    class Average(ModelEmaV3):  # type: ignore[misc]
        def apply_update_(self, model: nn.Module, decay: float) -> None:
            # timm goes by names, and would move a tensor with two names twice in a step.
            own, new = self.module.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
            pairs = list({id(own[name]): (own[name], new[name]) for name in own}.values())
            moved = [(old, value) for old, value in pairs if old.is_floating_point()]
            torch._foreach_lerp_([o for o, _ in moved], [v for _, v in moved], weight=1 - decay)
            for old, value in pairs:
                if not old.is_floating_point():
                    old.copy_(value)

    decay = average_decay(recipe, steps)
    with copying(model):
        return Average(model, decay=decay)


def average_decay(recipe: Recipe, steps: int) -> float:
    """Return the decay a step of averaged weights: that of the recipe, at most 1 - 10 / steps.

    Args:
        recipe: Its ``ema``.
        steps: Number of steps of the whole training.
    """
    return min(recipe.ema, 1 - 10 / max(steps, 11))


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


class DropPaths:
    """Drop path of a network while it trains: the network's own, and a recipe's.

    Drop path replaces the output of a residual branch by zeros, for random images of a batch. A
    recipe puts it into every block of MobileNets that adds its input, at a rate that rises
    linearly with the depth, as usual there (EfficientNet's "drop connect").

    Args:
        model: Network to train. Averages of its weights must have been copied from it before.
        rate: Rate of the last block; 0 adds none.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        from timm.layers import DropPath

        self._own = [(m, float(m.drop_prob)) for m in model.modules() if isinstance(m, DropPath)]
        self._part = 1.0
        blocks = [m for m in model.modules() if isinstance(m, InvertedResidual)]
        self._hooks = [
            block.body.register_forward_hook(self._hook(rate * i / len(blocks)))
            for i, block in enumerate(blocks)
            if block.residual and rate > 0
        ]

    def scale(self, part: float) -> None:
        """Set every rate to this part of its full value."""
        self._part = part
        for module, rate in self._own:
            module.drop_prob = part * rate

    def remove(self) -> None:
        """Take out what the recipe put in; give the network's own their full rates."""
        self.scale(1.0)
        for hook in self._hooks:
            hook.remove()

    def _hook(self, rate: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        from timm.layers import drop_path

        def drop(branch: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            dropped: Tensor = drop_path(output, self._part * rate, branch.training)
            return dropped

        return drop
