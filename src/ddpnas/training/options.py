"""TrainOptions: where and how a training runs, apart from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast

from torch import nn

from ddpnas.training.pretrained import OpenedNetwork
from ddpnas.utils.settings import Epochs, Seed, checked_options
from ddpnas.utils.shapes import Range, hints_of

__all__ = ["TrainOptions", "complete"]


class TrainOptions(TypedDict, total=False):
    """Options that :func:`ddpnas.train` and :func:`ddpnas.compare` share, all by keyword.

    Attributes:
        epochs: Number of epochs instead of the recipe's.
        seconds: Seconds that the epochs may take in all. If they turn out to take longer, the
            training is shortened after an epoch: fewer epochs, over which the learning rate
            still falls to its end. None (the default) sets no limit.
        shortened: Epoch -> number of epochs from then on, as "epochs" in the history of another
            training: to be as long as that one, whatever time that takes. With epoch 0 the training
            begins with a quarter of the learning rate, as one whose history has "failed_lr". None
            (the default) leaves it to ``seconds``.
        seed: Seed for shuffling, augmentation and dropout; in :func:`ddpnas.compare` also for the
            initial weights and the random architectures. 0 by default.
        device: "auto" (the default), "cpu", "cuda", ...
        mixed_precision: Precision of the training: "no" (the default), "bf16" or "fp16".
            Evaluation is in float32.
        track: "tensorboard", "mlflow" or "wandb" logs losses and scores of every epoch.
        teacher: Network to distil from: besides the labels, the network learns its softened
            probabilities. A name or folder as for :func:`ddpnas.open_network`, what that returned,
            or a module that takes the same inputs. None by default.
        sieve: Which training images an epoch reads, a name in :func:`ddpnas.data.list_sieves`;
            "all" by default.
        sieve_options: Options of the sieve, see ``ddpnas data``.
        folder: Folder for checkpoints, written after every epoch, and the tracker's files;
            :func:`ddpnas.compare` makes a folder in it for each network. None by default.
        resume: Continue from the checkpoints in ``folder``. The result is that of an
            uninterrupted training. Without a checkpoint the training starts from the beginning.

    Example:
        >>> options: TrainOptions = {"epochs": 3, "device": "cpu"}
    """

    epochs: Epochs | None
    seconds: Annotated[float, Range(above=0)] | None
    shortened: dict[int, Epochs] | None
    seed: Seed
    device: str
    mixed_precision: Literal["no", "bf16", "fp16"]
    track: Literal["tensorboard", "mlflow", "wandb"] | None
    teacher: str | Path | nn.Module | OpenedNetwork | None
    sieve: str
    sieve_options: dict[str, Any]
    folder: str | Path | None
    resume: bool


_DEFAULTS: TrainOptions = {
    "epochs": None,
    "seconds": None,
    "shortened": None,
    "seed": 0,
    "device": "auto",
    "mixed_precision": "no",
    "track": None,
    "teacher": None,
    "sieve": "all",
    "sieve_options": {},
    "folder": None,
    "resume": False,
}


def complete(options: TrainOptions) -> TrainOptions:
    """Return the options with the defaults of those that are not given.

    Raises:
        OptionError: An option is unknown, of another type, or out of range.
    """
    given = checked_options("a training", hints_of(TrainOptions), options)
    return cast(TrainOptions, {**_DEFAULTS, **given})
