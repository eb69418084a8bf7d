"""Images in files of arrays: .npz, and the CIFAR and Fashion-MNIST files torchvision reads."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpnas.data.dataset import DatasetSplit, Split, TensorSplit, as_split
from ddpnas.errors import DataError

__all__ = ["read_npz", "read_torchvision", "resized", "resized_images", "splits_of"]

Found = tuple[tuple[str, ...] | None, dict[str, Split]]

_FORM = (
    "arrays train_images (N x H x W or N x H x W x C, uint8) and train_labels, and likewise "
    "valid_... and test_... where there are any"
)


def read_npz(path: Path) -> Found:
    """Return (classes, splits) of a .npz file.

    It holds ``train_images`` and ``train_labels`` and, optionally, the same for ``valid`` and
    ``test``, and ``classes``; or JPEG files as ``header``, ``body``, ``offsets`` and ``labels``,
    the test images in a second file whose name has ``test`` where this one's has ``train``.
    """
    arrays = _arrays(path)
    names = set(arrays)
    classes = tuple(str(c) for c in arrays["classes"]) if "classes" in names else None
    if {"header", "body", "offsets", "labels"} <= names:
        splits: dict[str, Split] = {"train": _jpegs(arrays, path)}
        other = path.with_name(path.name.replace("train", "test"))
        if other != path and other.exists():
            splits["test"] = _jpegs(_arrays(other), other)
        return classes, splits
    return classes, splits_of(arrays, str(path))


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path) as arrays:  # refuses pickled objects
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(f"{path} is not a .npz file of arrays ({error}); needed: {_FORM}") from None


def splits_of(arrays: Mapping[str, Any], name: str) -> dict[str, Split]:
    """Return the splits in a mapping with ``train_images``, ``train_labels`` and so on."""
    splits = {}
    for key in ("train", "valid", "test"):
        if f"{key}_images" in arrays and f"{key}_labels" in arrays:
            images, labels = arrays[f"{key}_images"], arrays[f"{key}_labels"]
            if images.dtype != np.uint8 or images.ndim not in (3, 4):
                raise DataError(
                    f"{key}_images in {name} is {images.dtype} of shape {images.shape}; "
                    f"needed: {_FORM}"
                )
            splits[key] = as_split((images, labels.astype(np.int64)), None)
    if "train" not in splits:
        raise DataError(f"{name} has no train_images and train_labels; needed: {_FORM}")
    return splits


def read_torchvision(path: Path) -> Found | None:
    """Return (classes, splits) of a directory with torchvision's files, None if it has none."""
    if (path / "cifar-10-batches-py").is_dir():
        kind = "CIFAR10"
    elif (path / "cifar-100-python").is_dir():
        kind = "CIFAR100"
    elif (path / "FashionMNIST" / "raw").is_dir():
        kind = "FashionMNIST"
    else:
        return None
    from torchvision import datasets

    splits: dict[str, Split] = {}
    classes: tuple[str, ...] = ()
    for key in ("train", "test"):
        try:
            found = getattr(datasets, kind)(path, train=key == "train", download=False)
        except RuntimeError as error:
            raise DataError(f"the {kind} files in {path} are not complete: {error}") from None
        images = np.asarray(found.data)
        splits[key] = as_split((images, np.asarray(found.targets, dtype=np.int64)), None)
        classes = tuple(found.classes)
    return classes, splits


def resized(split: Split, size: int) -> Split:
    """Return a split of uint8 images resized to ``size`` x ``size``; others as they are."""
    if isinstance(split, DatasetSplit) or split.inputs.dtype != torch.uint8:
        return split
    return TensorSplit(resized_images(split.inputs, (size, size)), split.labels)


def resized_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N, C, height, width) uint8: resized to cover that size, what is over cut off."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    from torchvision.transforms.v2 import functional

    covering = [max(size[0], height * size[1] // width), max(size[1], width * size[0] // height)]
    result: Tensor = functional.center_crop(
        functional.resize(images, covering, antialias=True), list(size)
    )
    return result


def _jpegs(arrays: Mapping[str, Any], path: Path) -> Split:
    header, body = arrays["header"].tobytes(), arrays["body"].tobytes()
    offsets = arrays["offsets"].tolist()
    images = []
    for i, (start, end) in enumerate(itertools.pairwise(offsets)):
        try:
            with Image.open(io.BytesIO(header + body[start:end])) as image:
                images.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise DataError(f"image {i} of {path} cannot be read: {error}") from None
    return as_split((np.stack(images), arrays["labels"].astype(np.int64)), None)
