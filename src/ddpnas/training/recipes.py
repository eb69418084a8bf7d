"""Recipe: how a network is trained, as plain data that can be named, printed and changed.

The published ones are written from their papers and the documented commands of the released code;
schedules, averages, mixing, optimizers and policies themselves are those of timm and torchvision.
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

__all__ = ["CROPS", "OPTIMIZERS", "POLICIES", "RECIPES", "SCHEDULES", "Recipe", "create_recipe"]

OPTIMIZERS = ("sgd", "momentum", "adamw", "rmsproptf", "lamb")  # timm's names
SCHEDULES = ("cosine", "step")
CROPS = ("shift", "resized", "none")
POLICIES = ("none", "cifar10", "imagenet", "svhn", "rand", "trivial")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        name: of the recipe.
        source: where it is from, in a sentence.
        epochs: passes over the training images.
        batch_size: images a step, of all processes together; None is 128, and less for small
            sets, so that an epoch has 40 steps where it can (at least 16).
        optimizer: "sgd" (with Nesterov momentum), "momentum" (without), "adamw", "rmsproptf"
            (TensorFlow's RMSprop), "lamb".
        lr: the highest learning rate.
        momentum: of the optimizer; AdamW and LAMB have their own.
        weight_decay: of all parameters, or, without ``decay_all``, of weights only.
        decay_all: whether biases and normalisation layers decay too.
        schedule: "cosine" to 0, or "step": times ``decay_rate`` every ``decay_epochs``.
        decay_epochs: of the schedule "step".
        decay_rate: of the schedule "step".
        warmup: part of all steps in which the learning rate rises linearly.
        warmup_from: where it starts, as a part of ``lr``.
        label_smoothing: of the cross-entropy.
        clip: largest norm of the gradient, 0 for none.
        ema: decay a step of the averaged weights that are evaluated, 0 for none; less in short
            runs, where the average spans a tenth of all steps at most.
        crop: "shift" (by up to an eighth, zeros come in), "resized" (a random part, 8 % to 100 %
            of the area, at full size) or "none".
        policy: of torchvision's automatic augmentation: "cifar10", "imagenet" and "svhn" are
            AutoAugment, "rand" RandAugment, "trivial" TrivialAugment; or "none".
        cutout: side in pixels of a square that is blanked; what is outside the image is lost.
        erase: probability that a random part becomes noise (random erasing).
        mixup: alpha of MixUp, 0 for none.
        cutmix: alpha of CutMix, 0 for none; with both, each mixes half of the batches.
        auxiliary_weight: of the loss of auxiliary heads, where the network has them.
        drop_path: of the last block of MobileNets, rising to it with the depth, while they train;
            DARTS networks have an option of that name, see ``network``.
        drop_path_rises: whether drop path of either kind rises linearly over the epochs.
        keep_best: hold the validation images out of training, score them after every epoch, and
            end with the weights of the best one.
        patience: stop after so many epochs without a better score; implies ``keep_best``.
        image_size: pixels a side, for commands that read images; None for the data's own.
        network: options of the final network by space, such as its width, for commands and
            :func:`ddpnas.compare`, which build it.
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
                raise OptionError(f"the number of {name} is at least {least}, not {value}")
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
                raise OptionError(f"{name} is from 0 to 1, not {getattr(self, name)}")
        if self.lr <= 0 or self.decay_epochs <= 0:
            raise OptionError("lr and decay_epochs are above 0")
        if self.patience is not None and not self.keep_best:
            object.__setattr__(self, "keep_best", True)

    def to_yaml(self) -> str:
        """Return the recipe as YAML that :func:`create_recipe` reads."""
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
        recipe: a name in ``RECIPES``, a file that ends in ``.yaml`` (settings over those of the
            recipe that its ``name`` says, of ``quick`` if that is a new name), or a recipe.
        options: fields of :class:`Recipe`.

    Raises:
        OptionError: an unknown name or setting, or a value that cannot be.
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
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise OptionError(f"the recipe {path} cannot be read: {error.strerror}") from None
    if not isinstance(settings, dict):
        raise OptionError(f"{path} is no recipe; `ddpnas recipes quick` prints one")
    return settings
