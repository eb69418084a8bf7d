"""The section that answers: which images does the found network get wrong?

The network is loaded and run on the images once more.
"""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpnas.data.splits import Split, TensorSplit
from ddpnas.errors import DdpnasError
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import Column, DataTable, Gallery, Section, Thumbnail, percent
from ddpnas.training.trained_folder import load

__all__ = ["mistakes_section"]

logger = logging.getLogger(__name__)

_SHOWN = 24
_MOST_IMAGES = 5_000
_PIXELS = 96


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        index: Place of the image among those tested.
        image: Pixels, uint8 (C, H, W).
        label: Index of the true class.
        predicted: Index of the predicted class.
        confidence: Probability of the predicted class.
    """

    index: int
    image: Tensor
    label: int
    predicted: int
    confidence: float


def mistakes_section(view: View | TrainedView) -> Section | None:
    """Return the misclassified images that the network was most certain about.

    None without a trained network, or if its space is code that the caller did not name.
    """
    trained = view.trained
    if trained is None or view.space is None:
        return None
    try:
        model = load(trained.path, space=view.space_name)
        data = model.load_data(view.images) if view.data is None else view.data
    except DdpnasError as error:
        # The reason may name local paths, so it goes to the log and not on the page.
        logger.warning("the report leaves out the misclassified images: %s", error)
        words = ("The images cannot be shown, because they or the network could not be read.",)
        return Section("mistakes", "What it gets wrong", words, ())
    images, labels = _images(data.splits[trained.found.evaluation.split])
    if images is None or not model.mean:
        return None
    probabilities = model.predict(images)
    wrong = _mistakes(images, labels, probabilities)
    right = 1 - len(wrong) / len(labels)
    words = (
        (
            f"{len(wrong)} of {len(labels):,} images are misclassified ({percent(right)} are "
            f"correct). Shown are those that the network was most certain about: look for wrong "
            f"labels, and for what the network may have learned instead."
        ),
    )
    if not wrong:
        return Section("mistakes", "What it gets wrong", words, ())
    return Section("mistakes", "What it gets wrong", words, (_gallery(data.classes, wrong),))


def _images(split: Split) -> tuple[Tensor | None, Tensor]:
    """Return up to 5,000 evenly spaced images and their labels; None for data without images."""
    at = torch.linspace(0, len(split) - 1, min(len(split), _MOST_IMAGES)).long()
    if isinstance(split, TensorSplit):
        images = split.inputs[at]
    else:
        images = torch.stack([split.dataset[int(split.indices[i])][0] for i in at])
    if images.dtype != torch.uint8 or images.ndim != 4:
        return None, split.labels[at]
    return images, split.labels[at]


def _mistakes(images: Tensor, labels: Tensor, probabilities: Tensor) -> list[Mistake]:
    confidence, predicted = probabilities.max(dim=1)
    wrong = torch.nonzero(predicted != labels).flatten().tolist()
    found = [
        Mistake(i, images[i], int(labels[i]), int(predicted[i]), float(confidence[i]))
        for i in wrong
    ]
    return sorted(found, key=lambda m: -m.confidence)


def _gallery(classes: tuple[str, ...], wrong: list[Mistake]) -> Gallery:
    pictures = []
    for m in wrong[:_SHOWN]:
        said = f"{classes[m.label]}, predicted as {classes[m.predicted]}"
        share = f"{100 * m.confidence:.0f} %"
        pictures.append(Thumbnail(_png(m.image), f"{said} ({share} certain)", f"{said}, {share}"))
    table = DataTable(
        "mistakes",
        "Misclassified images, most certain first",
        (
            Column("image", "count"),
            Column("class"),
            Column("predicted as"),
            Column("certainty", "percent"),
        ),
        tuple((m.index, classes[m.label], classes[m.predicted], m.confidence) for m in wrong),
        folded=True,
    )
    caption = f"{len(pictures)} of {len(wrong)}: true class, predicted class, certainty."
    return Gallery(caption, tuple(pictures), table)


def _png(image: Tensor) -> str:
    """Return an image (C, H, W) as PNG in base64, no side longer than 96 pixels."""
    pixels = image.numpy()
    array = pixels[0] if pixels.shape[0] == 1 else np.moveaxis(pixels[:3], 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((_PIXELS, _PIXELS))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
