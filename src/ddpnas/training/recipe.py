"""train(): a network from scratch by a named recipe, and its accuracy on images never seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpnas.data import Data, Loader, as_data
from ddpnas.errors import DivergedError, OptionError, nearest
from ddpnas.training.epoch import confusion, pick_device, place, train_epoch

__all__ = ["RECIPES", "Recipe", "TrainResult", "train"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum, linear warm-up, cosine decay.

    Args:
        name: of the recipe.
        epochs: passes over the training images.
        batch_size: images a step; None is 128, and less for small sets, see
            :meth:`ddpnas.data.Loader.batch_size`.
        lr: reached after a quarter of the steps.
        momentum: of SGD.
        weight_decay: of all parameters.
        label_smoothing: of the cross-entropy.
        clip: largest norm of the gradient, 0 for none.
        ema: decay a step of the averaged weights that are evaluated, 0 for none; less in short
            runs, where the average spans a tenth of all steps at most.
    """

    name: str = "quick"
    epochs: int = 10
    batch_size: int | None = None
    lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    clip: float = 5.0
    ema: float = 0.999


RECIPES = {"quick": Recipe()}


@dataclass(frozen=True)
class TrainResult:
    """A trained network and how it got there.

    Attributes:
        model: on the device it was trained on, in evaluation mode.
        accuracy: fraction right on the split named by ``split``, read once at the end.
        split: "test", or "valid" where the data has no test images.
        history: one record an epoch: epoch, loss, seconds.
        recipe: as used.
        seconds: of training and evaluation.
        confusion: images of that split by (class, class they were taken for).
    """

    model: nn.Module
    accuracy: float
    split: str
    history: list[dict[str, float]]
    recipe: Recipe
    seconds: float
    confusion: list[list[int]]

    @property
    def per_class(self) -> list[float | None]:
        """Fraction right of each class; None for a class without images in the split."""
        return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion)]


def train(
    model: nn.Module,
    data: Data | Any,
    recipe: Recipe | str = "quick",
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    on_epoch: Callable[[dict[str, float]], object] | None = None,
) -> TrainResult:
    """Train the network from scratch; return it with its accuracy on unseen images.

    Where the data has test images, training and validation images are both trained on, as is
    usual once the architecture is fixed; otherwise the validation images are kept out and
    reported on.

    Args:
        model: outputs one logit a class; its present weights are where training starts.
        data: see :func:`ddpnas.data.as_data`.
        recipe: a name in ``RECIPES`` or one of your own.
        epochs: other than the recipe's.
        seed: of shuffling, augmentation and dropout.
        device: "auto", "cpu", "cuda", ...
        on_epoch: given each record of the history as it is made.

    Raises:
        OptionError: unknown recipe, or a number of epochs below 1.
        DivergedError: the loss became NaN or infinite.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise OptionError(nearest("recipe", recipe, RECIPES))
        recipe = RECIPES[recipe]
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    if recipe.epochs < 1:
        raise OptionError(f"the number of epochs is at least 1, not {recipe.epochs}")
    data = as_data(data)
    where = pick_device(device)
    started = time.perf_counter()
    splits = [data.train] if data.test is None else [data.train, data.valid]
    loader = Loader(data, splits, where)
    batch_size = loader.batch_size(recipe.batch_size)
    recipe = dataclasses.replace(recipe, batch_size=batch_size)
    model = place(model, where).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    steps = recipe.epochs * loader.steps(batch_size)
    schedule = _schedule(optimizer, steps)
    averaged = _average(model, recipe, steps)

    def after_step() -> None:
        schedule.step()
        if averaged is not None:
            averaged.update_parameters(model)

    history = []
    for epoch in range(recipe.epochs):
        begun = time.perf_counter()
        with torch.random.fork_rng():
            torch.manual_seed(seed * 100_003 + epoch)
            batches = loader.train_batches(batch_size, seed=seed * 100_003 + epoch)
            try:
                loss = train_epoch(
                    model,
                    batches,
                    optimizer,
                    parameters,
                    clip=recipe.clip,
                    label_smoothing=recipe.label_smoothing,
                    after_step=after_step,
                )
            except DivergedError as error:
                raise DivergedError(
                    f"{error} in epoch {epoch + 1} of {recipe.epochs}; try a lower learning "
                    f"rate than {recipe.lr:g}"
                ) from None
        record = {"epoch": epoch + 1, "loss": loss, "seconds": time.perf_counter() - begun}
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)
    final = model if averaged is None else averaged.module
    final.eval()
    split = "valid" if data.test is None else "test"
    unseen = Loader(data, [data.valid if data.test is None else data.test], where)
    counts = confusion(final, unseen.eval_batches(500), len(data.classes))
    return TrainResult(
        model=final,
        accuracy=int(counts.trace()) / int(counts.sum()),
        split=split,
        history=history,
        recipe=recipe,
        seconds=time.perf_counter() - started,
        confusion=counts.tolist(),
    )


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a quarter of the steps of linear warm-up, then a cosine to 0."""
    warm = max(1, steps // 4)
    return torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.04, total_iters=warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps - warm)),
        ],
        milestones=[warm],
    )


def _average(model: nn.Module, recipe: Recipe, steps: int) -> AveragedModel | None:
    """Return the moving average of weights and buffers, or None where the recipe has none."""
    if recipe.ema <= 0:
        return None
    decay = min(recipe.ema, 1 - 10 / max(steps, 11))
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
