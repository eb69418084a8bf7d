"""Recipe: how a network is trained, as plain data that you can name, print and change.

The published recipes follow their papers and the documented commands of the released code.
Schedules, averages, mixing, optimizers and policies are those of timm and torchvision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from ddpnas.errors import OptionError, nearest
from ddpnas.utils.read import read_yaml
from ddpnas.utils.settings import (
    Count,
    Decay,
    Epochs,
    LearningRate,
    Momentum,
    Norm,
    Pixels,
    checked_fields,
    checked_options,
)
from ddpnas.utils.shapes import Range, Share, hints_of

__all__ = ["RECIPES", "ClassWeights", "Metric", "Recipe", "create_recipe"]

Optimizer = Literal["sgd", "momentum", "adamw", "rmsproptf", "lamb"]  # timm's names
Schedule = Literal["cosine", "step"]
Crop = Literal["shift", "resized", "none"]
Policy = Literal["none", "cifar10", "imagenet", "svhn", "rand", "trivial"]
Metric = Literal["accuracy", "macro-f1"]
ClassWeights = Literal["none", "balanced"]
Alpha = Annotated[float, Range(0, 100)]  # of the beta distribution of MixUp and CutMix


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        name: Name of the recipe.
        source: Where it comes from, in a sentence.
        epochs: Number of passes over the training images. None is as many as ``steps`` take, at
            least 10: few images need many passes.
        steps: Number of steps where ``epochs`` is None.
        batch_size: Images a step, of all processes together. None is 128, or less (at least 16)
            for small sets, so that an epoch has 40 steps.
        optimizer: "sgd" (with Nesterov momentum), "momentum" (without), "adamw", "rmsproptf"
            (TensorFlow's RMSprop), "lamb".
        lr: Highest learning rate.
        momentum: Momentum of the optimizer; AdamW and LAMB use their own.
        weight_decay: Decay of all parameters or, without ``decay_all``, of weights only.
        decay_all: Whether biases and normalization layers decay too.
        schedule: "cosine" to 0, or "step": times ``decay_rate`` every ``decay_epochs``.
        decay_epochs: Epochs between two steps of the schedule "step".
        decay_rate: Factor of the schedule "step".
        warmup: Fraction of all steps in which the learning rate rises linearly.
        warmup_from: Learning rate at the start of the warmup, as a fraction of ``lr``.
        label_smoothing: Label smoothing of the cross-entropy.
        clip: Largest norm of the gradient; 0 for no clipping.
        ema: Decay a step of averaged weights, which are then evaluated; 0 for none. It is lower
            in short runs, so that the average spans at most a tenth of all steps.
        crop: "shift" (by up to an eighth, zeros come in), "resized" (a random part, 8 % to 100 %
            of the area, at full size) or "none".
        policy: Automatic augmentation of torchvision: "cifar10", "imagenet" and "svhn" are
            AutoAugment, "rand" is RandAugment, "trivial" is TrivialAugment; or "none".
        cutout: Side in pixels of a square to blank; the part outside the image is lost.
        erase: Probability that a random part becomes noise (random erasing).
        mixup: Alpha of MixUp; 0 for none.
        cutmix: Alpha of CutMix; 0 for none. With both, each mixes half of the batches.
        class_weights: "balanced" gives each class the same weight in the loss, however many images
            it has.
        auxiliary_weight: Weight of the loss of auxiliary heads, if the network has them.
        drop_path: Rate of drop path in the last block of MobileNets; it rises to that with the
            depth. DARTS networks have an option of that name, see ``network``.
        drop_path_rises: Whether drop path of either kind rises linearly over the epochs.
        keep_best: Hold the validation images out of training, score them after every epoch, and
            end with the weights of the best epoch.
        metric: What the best epoch is chosen by: "accuracy", or "macro-f1" for classes of unequal
            size.
        patience: Stop after this many epochs without a better score; implies ``keep_best``.
        image_size: Pixels a side, for commands that read images; None for the data's own size.
        network: Options of the final network by space, such as its width; see
            :func:`ddpnas.training.final_space`.

    Example:
        >>> Recipe(epochs=5, lr=0.1).optimizer
        'sgd'
    """

    name: str = "quick"
    source: str = ""
    epochs: Epochs | None = None
    steps: Count = 3000
    batch_size: Count | None = None
    optimizer: Optimizer = "sgd"
    lr: LearningRate = 0.2
    momentum: Momentum = 0.9
    weight_decay: Decay = 5e-4
    decay_all: bool = True
    schedule: Schedule = "cosine"
    decay_epochs: Annotated[float, Range(0.01, 100_000)] = 2.4
    decay_rate: Share = 0.97
    warmup: Share = 0.25
    warmup_from: Share = 0.04
    label_smoothing: Share = 0.1
    clip: Norm = 5.0
    ema: Share = 0.999
    crop: Crop = "shift"
    policy: Policy = "none"
    cutout: Annotated[int, Range(0, 4096)] = 0
    erase: Share = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    class_weights: ClassWeights = "none"
    auxiliary_weight: Annotated[float, Range(0, 100)] = 0.4
    drop_path: Share = 0.0
    drop_path_rises: bool = True
    keep_best: bool = False
    metric: Metric = "accuracy"
    patience: Epochs | None = None
    image_size: Pixels | None = None
    network: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_fields(self, "a recipe")
        if self.optimizer == "sgd" and self.momentum == 0:
            raise OptionError(
                "momentum of a recipe must be above 0 with the optimizer 'sgd', which has Nesterov "
                "momentum; with 'momentum' it may be 0"
            )
        if self.patience is not None and not self.keep_best:
            object.__setattr__(self, "keep_best", True)

    def to_yaml(self) -> str:
        """Return the recipe as YAML that :func:`create_recipe` reads.

        Example:
            >>> Recipe(epochs=5).to_yaml().splitlines()[2]
            'epochs: 5'
        """
        plain = dataclasses.asdict(self)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


_DARTS = "as DARTS (arXiv 1806.09055) and DDPNAS (arXiv 1905.13543) train final networks"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(source="a good network in minutes on a CPU; settings chosen on Fashion-MNIST"),
        Recipe(
            name="finetune",
            source="a network that has weights already; settings chosen on photographs of CIFAR-10",
            steps=500,
            batch_size=64,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.05,
            decay_all=False,
            warmup=0.1,
            warmup_from=0.01,
            clip=1.0,
            ema=0.0,
        ),
        Recipe(
            name="cifar",
            source=f"CIFAR-10 {_DARTS}",
            epochs=600,
            batch_size=96,
            optimizer="momentum",
            lr=0.025,
            weight_decay=3e-4,
            warmup=0.0,
            label_smoothing=0.0,
            ema=0.0,
            cutout=16,
            network={"darts": {"channels": 36, "cells": 20, "auxiliary": True, "drop_path": 0.2}},
        ),
        Recipe(
            name="cifar-large",
            source=f"CIFAR-10 {_DARTS}, longer, wider and with AutoAugment (arXiv 1805.09501)",
            epochs=1800,
            batch_size=96,
            optimizer="momentum",
            lr=0.025,
            weight_decay=3e-4,
            warmup=0.0,
            label_smoothing=0.0,
            ema=0.0,
            policy="cifar10",
            cutout=16,
            network={
                "darts": {
                    "channels": 44,
                    "cells": 20,
                    "auxiliary": True,
                    "drop_path": 0.2,
                    "dropout": 0.2,
                }
            },
        ),
        Recipe(
            name="imagenet-mobile",
            source=(
                "timm's documented command for MobileNetV3-Large-100 (75.77 % top-1), without its "
                "noise on learning rate and magnitude"
            ),
            epochs=600,
            batch_size=1024,
            optimizer="rmsproptf",
            lr=0.064,
            weight_decay=1e-5,
            decay_all=False,
            schedule="step",
            decay_epochs=2.4,
            decay_rate=0.973,
            warmup=0.005,
            warmup_from=1e-6 / 0.064,
            label_smoothing=0.1,
            clip=0.0,
            ema=0.9999,
            crop="resized",
            policy="rand",
            erase=0.2,
            drop_path=0.2,
            drop_path_rises=False,
            image_size=224,
            network={
                "darts": {"channels": 48, "cells": 14, "stem": "imagenet", "auxiliary": True},
                **{
                    space: {"dropout": 0.2}
                    for space in ("mnasnet", "mobilenet-v2", "mobilenet-v3", "shufflenet")
                },
            },
        ),
    )
}
"""The recipes of this package, by name; ``ddpnas recipes NAME`` prints one."""


def create_recipe(recipe: Recipe | str | Path, **options: Any) -> Recipe:
    """Return the recipe of that name or YAML file, with some of its settings changed.

    Args:
        recipe: A name in ``RECIPES``, a recipe, or a file that ends in ``.yaml``. The settings in
            a file change the recipe that its ``name`` names, or ``quick`` if that name is new.
        options: Fields of :class:`Recipe` to change.

    Raises:
        OptionError: A name, a setting or a value is unknown or out of range.

    Example:
        >>> create_recipe("cifar", epochs=50).cutout
        16
    """
    if isinstance(recipe, (str, Path)):
        if Path(recipe).suffix in (".yaml", ".yml"):
            settings = _read(Path(recipe))
            recipe = RECIPES.get(str(settings.get("name")), RECIPES["quick"])
            options = {**settings, **options}
        elif recipe in RECIPES:
            recipe = RECIPES[str(recipe)]
        else:
            raise OptionError(nearest("recipe", str(recipe), RECIPES))
    wanted = checked_options("a recipe", hints_of(Recipe), options)
    return dataclasses.replace(recipe, **wanted)


def _read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_yaml(path, dict[str, Any], OptionError)
    return settings
