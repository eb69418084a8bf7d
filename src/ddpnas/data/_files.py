"""Read images from .npz files, and from the CIFAR and Fashion-MNIST files of torchvision."""

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

from ddpnas.data._arrays import FORM, Found, classes_of, splits_of
from ddpnas.data._images import reading, resized_images
from ddpnas.data.data import as_split
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.errors import DataError
from ddpnas.utils.read import DAMAGED_ARRAYS
from ddpnas.utils.settings import Interpolation

__all__ = ["read_npz", "read_torchvision", "resized"]

_JPEGS = {"header", "body", "offsets", "labels"}


def read_npz(path: Path) -> Found:
    """Return (classes, splits) of a .npz file.

    The file holds the arrays of :func:`ddpnas.data._arrays.splits_of`. Alternatively it holds JPEG
    files as ``header``, ``body``, ``offsets`` and ``labels``; the test images are then in a second
    file, whose name has ``test`` in place of ``train``.
    """
    arrays = _arrays(path)
    if set(arrays) >= _JPEGS:
        splits: dict[str, Split] = {"train": _jpegs(arrays, path)}
        other = path.with_name(path.name.replace("train", "test"))
        if other != path and other.exists():
            splits["test"] = _jpegs(_arrays(other), other)
        return classes_of(arrays, str(path)), splits
    return splits_of(arrays, str(path))


def _arrays(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not a .npz file; give a folder of images, or a .npz of {FORM}")
    try:
        with np.load(path) as arrays:  # refuses pickled objects
            return {name: _array(arrays, name, path) for name in arrays.files}
    except DataError:
        raise
    except DAMAGED_ARRAYS as error:
        raise DataError(f"{path} is damaged ({error}); download or save it again") from None


def _array(arrays: Any, name: str, path: Path) -> Any:
    try:
        array = arrays[name]
    except DAMAGED_ARRAYS as error:
        raise DataError(
            f"{name} in {path} cannot be read ({error}); if it holds Python objects, save texts "
            f"with .astype(str) and images as one array of uint8"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{name} in {path} is not an array; unpack an archive of images into a folder"
        )
    return array


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


def resized(split: Split, size: int, interpolation: Interpolation = "bilinear") -> Split:
    """Return a split of uint8 images resized to ``size`` x ``size``; other splits unchanged."""
    if isinstance(split, DatasetSplit) or split.inputs.dtype != torch.uint8:
        return split
    return TensorSplit(resized_images(split.inputs, (size, size), interpolation), split.labels)


def _jpegs(arrays: Mapping[str, Any], path: Path) -> Split:
    if lacking := sorted(_JPEGS - set(arrays)):
        raise DataError(
            f"{path} has no {lacking[0]}, unlike the file of training images next to it"
        )
    header, body = arrays["header"].tobytes(), arrays["body"].tobytes()
    at = arrays["offsets"]
    inside = at.ndim == 1 and at.dtype.kind in "iu" and len(at) > 1
    if not inside or at.min() < 0 or at.max() > len(body) or (at[1:] < at[:-1]).any():
        raise DataError(
            f"offsets in {path} do not say where its JPEG files begin and end: they must be whole "
            f"numbers that never fall, from 0 to the {len(body):,} bytes of body, one more than "
            f"images"
        )
    offsets = at.tolist()
    images = []
    for i, (start, end) in enumerate(itertools.pairwise(offsets)):
        content = io.BytesIO(header + body[start:end])
        with reading(f"image {i} of {path}"), Image.open(content) as image:
            images.append(np.asarray(image.convert("RGB")))
    if len({image.shape for image in images}) != 1:
        raise DataError(
            f"the images of {path} differ in size, or there are none; resize them to one size"
        )
    return as_split((np.stack(images), arrays["labels"]), None)
