"""Recipe: how a network is trained, as plain data that you can name, print and change.

The published recipes follow their papers and the documented commands of the released code.
Schedules, averages, mixing, optimizers and policies are those of timm and torchvision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ddpnas.errors import OptionError, nearest
from ddpnas.utils.options import typed
from ddpnas.utils.read import read_yaml

__all__ = ["CROPS", "OPTIMIZERS", "POLICIES", "RECIPES", "SCHEDULES", "Recipe", "create_recipe"]

OPTIMIZERS = ("sgd", "momentum", "adamw", "rmsproptf", "lamb")  # timm's names
SCHEDULES = ("cosine", "step")
CROPS = ("shift", "resized", "none")
POLICIES = ("none", "cifar10", "imagenet", "svhn", "rand", "trivial")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        name: Name of the recipe.
        source: Where it comes from, in a sentence.
        epochs: Number of passes over the training images.
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
        auxiliary_weight: Weight of the loss of auxiliary heads, if the network has them.
        drop_path: Rate of drop path in the last block of MobileNets; it rises to that with the
            depth. DARTS networks have an option of that name, see ``network``.
        drop_path_rises: Whether drop path of either kind rises linearly over the epochs.
        keep_best: Hold the validation images out of training, score them after every epoch, and
            end with the weights of the best epoch.
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
    epochs: int = 10
    batch_size: int | None = None
    optimizer: str = "sgd"
    lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = True
    schedule: str = "cosine"
    decay_epochs: float = 2.4
    decay_rate: float = 0.97
    warmup: float = 0.25
    warmup_from: float = 0.04
    label_smoothing: float = 0.1
    clip: float = 5.0
    ema: float = 0.999
    crop: str = "shift"
    policy: str = "none"
    cutout: int = 0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    auxiliary_weight: float = 0.4
    drop_path: float = 0.0
    drop_path_rises: bool = True
    keep_best: bool = False
    patience: int | None = None
    image_size: int | None = None
    network: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("crop", CROPS),
            ("policy", POLICIES),
        ):
            if (given := getattr(self, name)) not in known:
                raise OptionError(nearest(f"{name} of a recipe", str(given), known))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("image_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"{name} must be at least {least}, not {value}")
        for name in (
            "warmup",
            "warmup_from",
            "label_smoothing",
            "ema",
            "erase",
            "decay_rate",
            "drop_path",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if self.lr <= 0 or self.decay_epochs <= 0:
            raise OptionError("lr and decay_epochs must be above 0")
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
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    for name in options:
        if name not in fields:
            raise OptionError(nearest("setting of a recipe", name, fields))
    wanted = {
        name: typed(f"{name} of a recipe", str(fields[name].type), value)
        for name, value in options.items()
    }
    return dataclasses.replace(recipe, **wanted)


def _read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_yaml(path, dict[str, Any], OptionError)
    return settings
