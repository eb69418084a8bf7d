"""evaluate(): how many images with labels a trained network classifies correctly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.load import as_data, load_labelled
from ddpnas.data.loader import Loader
from ddpnas.data.splits import Split
from ddpnas.errors import DataError
from ddpnas.training.metrics import confusion
from ddpnas.training.results import EvaluationResult
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import expanded
from ddpnas.utils.settings import checked, checks_arguments

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)


@checks_arguments
def evaluate(
    model: TrainedModel,
    data: Any = None,
    split: str | None = None,
    *,
    batch_size: int = 500,
    workers: int = 0,
) -> EvaluationResult:
    """Evaluate a trained network on images with labels.

    Args:
        model: See :func:`ddpnas.load`.
        data: Name or path of images, with classes of the same names as the network's; a folder of
            class folders is read whole. Or anything that :func:`ddpnas.data.as_data` takes. By
            default the data of the training. If it is that data, it is split as for the training.
        split: "train", "valid" or "test"; by default test, or valid without test images.
        batch_size: Largest number of images to process together.
        workers: Processes that read images if they do not fit in memory.

    Raises:
        DataError: The classes or inputs are not the network's, or there is no such split.
        DivergedError: The network answers with NaN, as one with damaged weights does.
        RunError: No data is given, and that of the training cannot be found.

    Example:
        >>> import torch
        >>> from ddpnas.space.decisions import Architecture
        >>> model = TrainedModel(torch.nn.Linear(4, 2), Architecture({}), "", (4,), ("no", "yes"))
        >>> evaluate(model, (torch.randn(40, 4), torch.arange(40) % 2)).items
        8
    """
    checked("model of evaluate()", TrainedModel, model)
    name, chosen, images = _images(model, data, split, workers)
    as_trained = Data(
        name=name,
        classes=model.classes,
        train=images,
        valid=images,
        test=images,
        input_shape=model.input_shape,
        mean=model.mean,
        std=model.std,
    )
    loader = Loader(as_trained, [images], model.device)
    counts = confusion(model.network, loader.eval_batches(batch_size), len(model.classes))
    return EvaluationResult(name, chosen, int(counts.sum()), counts.tolist())


def _images(
    model: TrainedModel, data: Any, split: str | None, workers: int
) -> tuple[str, str, Split]:
    """Return (name of the data, name of the split, images)."""
    if data is None:
        found = model.load_data()
    elif isinstance(data, (str, Path)):
        again = model.find_data(data)
        if again is None:
            model.preprocessing.require_images()
            chosen, images = load_labelled(
                data,
                model.classes,
                model.input_shape,
                split,
                workers,
                interpolation=model.interpolation,
            )
            if split is None and chosen in ("all", "train") and _called_alike(model, data):
                logger.warning(
                    "%s has the same name as the images that the network was trained on, but other "
                    "content: if it contains some of those images, these figures are too good",
                    data,
                )
            return str(data), chosen, images
        logger.info("%s holds the images of the training and is split in the same way", data)
        found = again
    else:
        found = as_data(data)
    if found.input_shape != model.input_shape or len(found.classes) != len(model.classes):
        raise DataError(
            f"{found.name} has inputs of shape {found.input_shape} and {len(found.classes)} "
            f"classes; the network takes {model.input_shape} and knows {len(model.classes)}"
        )
    _check_same_task(model, found)
    name = split or found.held_out
    if name not in found.splits:
        raise DataError(f"{found.name} has no split {name!r}; it has {', '.join(found.splits)}")
    return found.name, name, found.splits[name]


def _check_same_task(model: TrainedModel, found: Data) -> None:
    """Check that labels and inputs mean to the network what they mean in these data.

    Raises:
        DataError: The classes have other names, or only one of both normalizes its inputs.
    """
    numbers = tuple(map(str, range(len(model.classes))))  # what classes without names are called
    if found.classes != model.classes and numbers not in (found.classes, model.classes):
        raise DataError(
            f"the classes of {found.name} are {', '.join(found.classes)}; the network knows "
            f"{', '.join(model.classes)}, in this order"
        )
    if bool(found.mean) != bool(model.mean):
        kinds = ("uint8 images", "inputs that are taken unchanged, such as floats")
        theirs, ours = kinds if found.mean else kinds[::-1]
        raise DataError(f"{found.name} holds {theirs}; the network was trained on {ours}")


def _called_alike(model: TrainedModel, data: str | Path) -> bool:
    source = model.about.get("provenance", {}).get("data", {}).get("source", {})
    return Path(source.get("data", "")).name == expanded(data).resolve().name
