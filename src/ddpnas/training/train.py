"""train(): a network from scratch by a recipe, and its accuracy on images never seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.training._accelerate import accelerated
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.training.results import TrainResult
from ddpnas.training.session import Session
from ddpnas.utils.options import check_seed

__all__ = ["train"]


def train(
    model: nn.Module,
    data: Data | Any,
    recipe: Recipe | str = "quick",
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    mixed_precision: str = "no",
    track: str | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
) -> TrainResult:
    """Train the network from scratch; return it with its accuracy on images not trained on.

    Where the data has test images, training and validation images are both trained on, as is
    usual once the architecture is fixed, unless the recipe keeps the best epoch; without test
    images the validation images are kept out and reported on. Test images are read once, at the
    end.

    Launched as several processes (``accelerate launch`` or ``torchrun``), each trains on its part
    of every batch.

    Args:
        model: outputs one logit a class; its present weights are where training starts.
        data: see :func:`ddpnas.data.as_data`.
        recipe: see :func:`ddpnas.training.create_recipe`.
        epochs: other than the recipe's.
        seed: of shuffling, augmentation and dropout.
        device: "auto", "cpu", "cuda", ...
        mixed_precision: "no", "bf16" or "fp16", of the training; evaluation is in float32.
        track: "tensorboard", "mlflow" or "wandb" follow losses and scores by epoch.
        folder: for checkpoints, one after every epoch, and the tracker's files; None keeps none.
        resume: go on from the checkpoint in the folder, to the weights that an unbroken training
            would have had; from the start where there is none yet.
        on_epoch: given each record of the history as it is made.

    Raises:
        OptionError: an unknown name or a value out of range.
        RunError: the checkpoint is damaged or of another training.
        DivergedError: the loss became NaN or infinite.
    """
    check_seed(seed)
    recipe = create_recipe(recipe, **({} if epochs is None else {"epochs": epochs}))
    path = None if folder is None else Path(folder)
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
    with accelerated(device, mixed_precision, track, path) as accelerator:
        session = Session(accelerator, model, as_data(data), recipe, seed, path)
        return session.run(resume=resume, on_epoch=on_epoch)
