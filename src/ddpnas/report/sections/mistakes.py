"""The images that the found network got wrong: it is loaded and shown them once more."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.data.splits import Split, TensorSplit
from ddpnas.errors import DdpnasError
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, Gallery, Picture, Section, Table, percent
from ddpnas.space.user_code import names_file
from ddpnas.training.trained_folder import load

__all__ = ["mistakes"]

logger = logging.getLogger(__name__)

_SHOWN = 24
_MOST_IMAGES = 5_000
_PIXELS = 96


@dataclass(frozen=True)
class Mistake:
    """One image that was taken for another class."""

    index: int
    image: Tensor
    label: int
    predicted: int
    confidence: float


def mistakes(view: View) -> Section | None:
    """Return the misclassified images of which the network was most certain.

    None without a trained network, or where its space is a file that nobody named.
    """
    trained = view.run.trained
    if trained is None or (names_file(str(view.run.config["space"])) and view.space is None):
        return None
    try:
        model = load(trained.path, space=view.space_name)
        data = model.load_data(view.run.path)
    except DdpnasError as error:  # said here alone: the page is for others, too
        logger.warning("the report lacks what the network gets wrong: %s", error)
        words = ("The images cannot be shown: they, or the network, could not be read again.",)
        return Section("mistakes", "What it gets wrong", words, ())
    images, labels = _images(_split(data, trained.found.evaluation.split))
    if images is None or not model.mean:
        return None
    probabilities = model.predict(images)
    wrong = _mistakes(images, labels, probabilities)
    right = 1 - len(wrong) / len(labels)
    words = (
        (
            f"{len(wrong)} of {len(labels):,} images are taken for another class "
            f"({percent(right)} are right). These are the ones of which the network was most "
            f"certain: look for wrong labels and for what the network may have learned instead."
        ),
    )
    if not wrong:
        return Section("mistakes", "What it gets wrong", words[:1], ())
    return Section("mistakes", "What it gets wrong", words, (_gallery(data.classes, wrong),))


def _split(data: Data, name: str) -> Split:
    if name == "test" and data.test is not None:
        return data.test
    return data.valid


def _images(split: Split) -> tuple[Tensor | None, Tensor]:
    """Return at most 5,000 images, evenly spaced, and their labels; None for what are no images."""
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
        said = f"{classes[m.label]}, taken for {classes[m.predicted]}"
        share = f"{100 * m.confidence:.0f} %"
        pictures.append(Picture(_png(m.image), f"{said} ({share} certain)", f"{said}, {share}"))
    table = Table(
        "mistakes",
        "Misclassified images, the most certain first",
        (
            Column("image", "count"),
            Column("class"),
            Column("taken for"),
            Column("certainty", "percent"),
        ),
        tuple((m.index, classes[m.label], classes[m.predicted], m.confidence) for m in wrong),
        folded=True,
    )
    caption = f"{len(pictures)} of {len(wrong)}: the class, what it was taken for, how certainly."
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
