"""Read splits from arrays of images and labels with the names that people give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpnas.data._images import channels_first
from ddpnas.data._labels import check_classes, read_labels
from ddpnas.data.splits import Split, TensorSplit
from ddpnas.errors import DataError

__all__ = ["FORM", "Found", "classes_of", "splits_of"]

Array = np.ndarray[Any, Any]
Found = tuple[tuple[str, ...] | None, dict[str, Split]]

FORM = (
    "arrays train_images (N x H x W, N x H x W x C or N x C x H x W, uint8) and train_labels, and "
    "optionally valid_... and test_... in the same form"
)
_SPLITS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
_PAIRS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("X_{}", "y_{}"))


def splits_of(arrays: Mapping[str, Any], name: str) -> Found:
    """Return (classes, splits) of a mapping with ``train_images``, ``train_labels`` and so on.

    Args:
        arrays: ``train_images`` and ``train_labels`` (or ``x_train`` and ``y_train``); optionally
            the same for ``valid`` (or ``val``) and ``test``, and ``classes``. Labels are numbers
            or names. Without ``classes``, the sorted names in the training labels are the classes.
        name: Name of the file, for messages.

    Raises:
        DataError: An array is missing or has another shape, type or range.
    """
    keys = {split: _keys(arrays, split, name) for split in _SPLITS}
    found = {split: pair for split, pair in keys.items() if pair is not None}
    if not found:
        raise DataError(f"{name} has no train_images and train_labels; needed: {FORM}")
    images = {split: _images(arrays[i], f"{i} in {name}") for split, (i, _) in found.items()}
    labels = {
        split: read_labels(arrays[key], f"{key} in {name}") for split, (_, key) in found.items()
    }
    for split, (images_key, labels_key) in found.items():
        if len(images[split]) != len(labels[split]):
            raise DataError(
                f"{images_key} in {name} has {len(images[split])} images and {labels_key} "
                f"{len(labels[split])} labels; every image needs one"
            )
    classes, numbers = _numbered(classes_of(arrays, name), labels, name)
    return classes, {
        split: TensorSplit(images[split], torch.from_numpy(numbers[split])) for split in found
    }


def _keys(arrays: Mapping[str, Any], split: str, name: str) -> tuple[str, str] | None:
    """Return the names of the images and of the labels of a split; None if it is not there."""
    found = []
    for pair in _PAIRS:
        for word in _SPLITS[split]:
            images, labels = (key.format(word) for key in pair)
            if (images in arrays) and (labels in arrays):
                found.append((images, labels))
            elif images in arrays:
                raise DataError(f"{name} has {images} but no {labels}; add it or leave both out")
    if len(found) > 1:
        raise DataError(f"{name} has both {found[0][0]} and {found[1][0]}; keep one of them")
    return found[0] if found else None


def _images(images: Array, name: str) -> Tensor:
    """Return the images as (N, C, H, W)."""
    shape = "x".join(map(str, images.shape))
    if images.ndim not in (3, 4) or images.dtype.kind not in "biuf":
        raise DataError(f"{name} is {images.dtype} of shape {shape}; needed: {FORM}")
    if images.size == 0:
        raise DataError(f"{name} is empty, of shape {shape}; give images or leave it out")
    if images.dtype != np.uint8:
        raise DataError(
            f"{name} is {images.dtype} with values from {float(images.min()):g} to "
            f"{float(images.max()):g}; images are uint8 from 0 to 255: {_remedy(images)}"
        )
    return channels_first(images, name)


def _remedy(images: Array) -> str:
    """Return the expression that turns images of another type into uint8."""
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind in "bf" and low >= 0 and high <= 1:
        return "save (images * 255).round().astype('uint8')"
    if low >= 0 and high <= 255:
        return "save images.round().astype('uint8')"
    return "scale them to that range and save images.round().astype('uint8')"


def classes_of(arrays: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Return the array ``classes`` as names; None without one."""
    if "classes" not in arrays:
        return None
    given = np.asarray(arrays["classes"])
    if given.ndim != 1:
        raise DataError(
            f"classes in {name} has shape {given.shape}; it must be a list of names, one for each "
            f"class"
        )
    if given.dtype.kind == "S":
        given = np.char.decode(given, "utf-8", "replace")
    return check_classes([str(c) for c in given], f"classes in {name}")


def _numbered(
    classes: tuple[str, ...] | None, labels: Mapping[str, Array], name: str
) -> tuple[tuple[str, ...] | None, Mapping[str, Array]]:
    """Return (classes, labels as numbers): names become the positions of their classes."""
    named = [split for split, values in labels.items() if values.dtype.kind == "U"]
    if not named:
        return classes, labels
    if len(named) < len(labels):
        other = next(split for split in labels if split not in named)
        raise DataError(
            f"the {named[0]} labels in {name} are names and the {other} labels numbers; give "
            f"all as names or all as numbers"
        )
    if classes is None:
        classes = tuple(map(str, np.unique(next(iter(labels.values())))))
    numbers = {}
    for split, values in labels.items():
        known = {c: i for i, c in enumerate(classes)}
        if unknown := sorted({str(v) for v in values} - set(known)):
            raise DataError(
                f"a label in the {split} labels of {name} is {unknown[0]!r}; the classes are "
                f"{', '.join(classes)}"
            )
        numbers[split] = np.array([known[str(v)] for v in values], dtype=np.int64)
    return classes, numbers
