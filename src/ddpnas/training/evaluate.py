"""evaluate(): what a trained network gets right on images with labels."""

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

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    model: TrainedModel,
    data: Any = None,
    split: str | None = None,
    *,
    batch_size: int = 500,
    workers: int = 0,
) -> EvaluationResult:
    """Return how the network does on images with labels.

    Args:
        model: see :func:`ddpnas.load`.
        data: name or path of images, whose classes are known by their names; a folder of class
            folders is taken whole. Or what :func:`ddpnas.data.as_data` takes. If left out, or
            if it holds the images that the network was trained on, these, split as then.
        split: "train", "valid" or "test"; by default test, or else valid.
        batch_size: images that go through the network together, at most.
        workers: processes that read images where they do not fit in memory.

    Raises:
        DataError: other classes or inputs than the network's, or no such split.
        RunError: no data given, and that of the training is unknown.
    """
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
            chosen, images = load_labelled(data, model.classes, model.input_shape, split, workers)
            if split is None and chosen in ("all", "train") and _called_alike(model, data):
                logger.warning(
                    "%s has the name of the images that the network was trained on, and is not the "
                    "same: as far as it learned from these, the figures are too good",
                    data,
                )
            return str(data), chosen, images
        logger.info("%s has the images of the training: they are split as then", data)
        found = again
    else:
        found = as_data(data)
    if found.input_shape != model.input_shape or len(found.classes) != len(model.classes):
        raise DataError(
            f"{found.name} has inputs of shape {found.input_shape} and {len(found.classes)} "
            f"classes; the network takes {model.input_shape} and knows {len(model.classes)}"
        )
    name = split or found.held_out
    if name not in found.splits:
        raise DataError(f"{found.name} has no split {name!r}; it has {', '.join(found.splits)}")
    return found.name, name, found.splits[name]


def _called_alike(model: TrainedModel, data: str | Path) -> bool:
    source = model.about.get("provenance", {}).get("data", {}).get("source", {})
    return Path(source.get("data", "")).name == Path(data).expanduser().resolve().name
