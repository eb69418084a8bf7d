"""Data: training, validation and test items with labels, however they are stored.

A split is either a :class:`TensorSplit`, held in memory (uint8 images of a small set, or any
tensors), or a :class:`DatasetSplit`, read item by item through a ``DataLoader``. uint8 images are
normalized, and augmented while training, in batches on the device. Other inputs are used
unchanged.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ddpnas.data._datasets import read_dataset
from ddpnas.data._inputs import as_inputs, describe
from ddpnas.data._labels import check_classes, read_labels
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.data.ranked_sieves import quotas
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.errors import DataError, OptionError
from ddpnas.utils.settings import (
    Fraction,
    Interpolation,
    MostImages,
    Pixels,
    Seed,
    checks_arguments,
)

__all__ = ["Data", "make_data"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """A classification task, as :func:`make_data` and :func:`ddpnas.load_data` return it.

    Attributes:
        name: Name for messages and files.
        classes: Name of each class, by label.
        train: Trains the weights of a search and, together with ``valid``, the final network.
        valid: Scores architectures in a search.
        test: Read once, at the end; None if there are no test items.
        input_shape: Shape of one input, (C, H, W) for images.
        mean: Mean of each channel over the training images, scaled to [0, 1]. Empty for inputs
            that are not uint8 images; they are used unchanged.
        std: Standard deviation of each channel, for images scaled to [0, 1].
        interpolation: How images were resized.
        flip: Whether images may be mirrored left to right in training.
        source: Arguments for :func:`ddpnas.load_data` to make the same data again; empty for
            data that came from Python objects.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split | None
    input_shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: Interpolation = "bilinear"
    flip: bool = True
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name: "train", "valid" and perhaps "test"."""
        found = {"train": self.train, "valid": self.valid}
        return found if self.test is None else {**found, "test": self.test}

    @property
    def held_out(self) -> str:
        """Name of the split that a final network is measured on: "test", else "valid"."""
        return "valid" if self.test is None else "test"

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become inputs."""
        return Preprocessing(self.input_shape, self.mean, self.std, self.interpolation)

    def fingerprint(self) -> str:
        """Return a hash of what a search sees: classes, training and validation items.

        Items in memory count with their content, those that are read one by one with their names
        (of files, also their sizes) and numbers.
        """
        digest = hashlib.sha256(repr((self.classes, self.input_shape)).encode())
        for split in (self.train, self.valid):
            digest.update(split.labels.numpy().tobytes())
            if isinstance(split, TensorSplit):
                digest.update(split.inputs.numpy().tobytes())
            else:
                digest.update(repr(split.names).encode())
                digest.update(split.indices.numpy().tobytes())
        return digest.hexdigest()[:16]


@checks_arguments
def make_data(
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    classes: Iterable[str] | None = None,
    name: str = "data",
    image_size: Pixels | None = None,
    valid_fraction: Fraction = 0.2,
    test_fraction: Fraction = 0.0,
    limit_train_images: MostImages | None = None,
    interpolation: Interpolation = "bilinear",
    flip: bool = True,
    seed: Seed = 0,
    source: Mapping[str, Any] | None = None,
) -> Data:
    """Return data from Python objects.

    Args:
        train: A pair (inputs, labels) of tensors or arrays, or a map-style ``Dataset`` of
            (input, label). uint8 inputs are images: (N, C, H, W) or, for arrays, also (N, H, W)
            and (N, H, W, C). A dataset may return PIL images. Other inputs are used unchanged
            (floats as float32), without normalization or augmentation.
        valid: Validation items in the same form; taken from ``train`` by default.
        test: Test items in the same form.
        classes: Names by label; by default the numbers.
        name: Name for messages.
        image_size: PIL images are cropped and resized to a square of this size; by default that
            of the first image.
        valid_fraction: Fraction of each class in ``train`` that becomes ``valid``, unless that is
            given.
        test_fraction: Fraction of each class in ``train`` that becomes ``test``, unless that is
            given; 0 for no test items.
        limit_train_images: Keep only this many items of ``train``, the same fraction of each
            class and at least two, before validation items are taken.
        interpolation: How PIL images are resized: "bilinear" or "bicubic".
        flip: Whether images may be mirrored in training.
        seed: Seed for choosing the items of each split.
        source: See :class:`Data`.

    Raises:
        OptionError: An option has another type or is out of range.
        DataError: Labels are out of range, a class has no items, shapes differ, or there is only
            one class.

    Example:
        >>> images = torch.zeros(50, 3, 8, 8, dtype=torch.uint8)
        >>> data = make_data((images, torch.arange(50) % 2), classes=["cat", "dog"])
        >>> data.input_shape, len(data.train), len(data.valid)
        ((3, 8, 8), 40, 10)
    """
    given = {
        key: as_split(value, image_size, f"the {key} dataset", interpolation)
        for key, value in (("train", train), ("valid", valid), ("test", test))
        if value is not None or key == "train"
    }
    given = _all_colored(given)
    if len({type(split) for split in given.values()}) > 1:
        raise DataError(
            f"the splits of {name} mix tensors and Datasets; pass all of them as tensors or all as "
            f"Datasets"
        )
    labels = given["train"].labels.numpy()
    classes = check_classes(_numbers_as_names(labels) if classes is None else classes, "classes")
    _check_labels(given, classes)
    splits = _held_out(given, valid_fraction, test_fraction, limit_train_images, len(classes), seed)
    shape = _common_shape(splits, name)
    mean, std = _statistics(splits["train"])
    return Data(
        name=name,
        classes=classes,
        train=splits["train"],
        valid=splits["valid"],
        test=splits.get("test"),
        input_shape=shape,
        mean=mean,
        std=std,
        interpolation=interpolation,
        flip=flip,
        source=dict(source or {}),
    )


def stratified(
    labels: np.ndarray[Any, Any], items: np.ndarray[Any, Any], fraction: float, rng: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (rest, taken), both sorted: ``taken`` has ``fraction`` of the items of each class.

    A class with two or more items keeps at least one on either side. A single item is not taken.
    """
    sizes = np.unique(labels[items], return_counts=True)[1].tolist()
    counts = [min(max(round(fraction * n), int(fraction > 0)), n - 1) for n in sizes]
    chosen = _drawn(labels, items, counts, rng)
    return np.setdiff1d(items, chosen), chosen


def _limited(
    labels: np.ndarray[Any, Any], items: np.ndarray[Any, Any], number: int, rng: Any
) -> np.ndarray[Any, Any]:
    """Return this many of the items, sorted: the same fraction of each class, two if it has two."""
    sizes = torch.from_numpy(np.unique(labels[items], return_counts=True)[1])
    wanted = sizes.double() * number / len(items)
    counts = quotas(wanted, sizes, number, torch.full_like(sizes, 2))
    return _drawn(labels, items, counts.tolist(), rng)


def _drawn(
    labels: np.ndarray[Any, Any], items: np.ndarray[Any, Any], counts: Sequence[int], rng: Any
) -> np.ndarray[Any, Any]:
    """Return as many random items of each class as asked, sorted."""
    taken = [
        rng.permutation(items[labels[items] == label])[:count]
        for label, count in zip(np.unique(labels[items]), counts, strict=True)
    ]
    return np.sort(np.concatenate(taken))


def as_split(
    value: Any,
    image_size: int | None,
    name: str = "the dataset",
    interpolation: Interpolation = "bilinear",
) -> Split:
    """Return a split of a (inputs, labels) pair or of a map-style dataset.

    Args:
        value: See :func:`make_data`.
        image_size: See :func:`make_data`.
        name: What to call a dataset in messages.
        interpolation: See :func:`make_data`.
    """
    if isinstance(value, (TensorSplit, DatasetSplit)):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        inputs, labels = value
        inputs = as_inputs(inputs)
        if isinstance(labels, Tensor) and labels.is_floating_point() and labels.ndim < 2:
            raise DataError(
                f"labels must be whole numbers, one for each input; got {describe(labels)}"
            )
        numbers = _numbers(labels)
        if len(inputs) != len(numbers):
            raise DataError(f"{len(inputs)} inputs do not match {len(numbers)} labels")
        return TensorSplit(inputs, numbers)
    items = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    if items and not isinstance(value, (Mapping, Tensor, np.ndarray, str, bytes, nn.Module)):
        return read_dataset(value, image_size, name, interpolation)
    kind = "a dictionary" if isinstance(value, Mapping) else type(value).__name__
    raise DataError(
        f"data must be a pair (inputs, labels) or a map-style Dataset, not {kind}{_instead(value)}"
    )


def _all_colored(splits: dict[str, Split]) -> dict[str, Split]:
    """Return gray images with three channels where those of another split have colors."""
    images = {
        key: split
        for key, split in splits.items()
        if isinstance(split, TensorSplit)
        and split.inputs.dtype == torch.uint8
        and split.inputs.ndim == 4
    }
    if {split.inputs.shape[1] for split in images.values()} != {1, 3}:
        return splits
    colored = {
        key: TensorSplit(split.inputs.expand(-1, 3, -1, -1).contiguous(), split.labels)
        for key, split in images.items()
    }
    return {**splits, **colored}


def _held_out(
    given: Mapping[str, Split],
    valid_fraction: float,
    test_fraction: float,
    limit_train_images: int | None,
    classes: int,
    seed: int,
) -> dict[str, Split]:
    """Return all splits: those given, and in place of missing ones parts of the training items."""
    pool, splits = given["train"], dict(given)
    labels = pool.labels.numpy()
    rng = np.random.default_rng(seed)
    rest = np.arange(len(pool))
    if "test" not in given and test_fraction > 0:
        rest, held_out = stratified(labels, rest, test_fraction, rng)
        splits["test"] = pool.subset(held_out.tolist())
        logger.info("no test images given: %d training images are held out to test", len(held_out))
    if limit_train_images is not None:
        if limit_train_images < 2 * classes:
            raise DataError(
                f"{limit_train_images} training images are too few for {classes} classes; at least "
                f"{2 * classes} are needed"
            )
        if limit_train_images < len(rest):
            rest = _limited(labels, rest, limit_train_images, rng)
    if "valid" not in given:
        if valid_fraction == 0:
            raise OptionError(
                "a valid_fraction of 0 leaves no images to score architectures with; hold out more "
                "than 0, such as 0.2, or give validation images"
            )
        rest, held_out = stratified(labels, rest, valid_fraction, rng)
        splits["valid"] = pool.subset(held_out.tolist())
    splits["train"] = pool.subset(rest.tolist())
    return splits


def _common_shape(splits: Mapping[str, Split], name: str) -> tuple[int, ...]:
    """Return the shape of one input, which all splits must share."""
    for key, split in splits.items():
        if len(split) == 0:
            raise DataError(f"the {key} split of {name} is empty; give more images")
    shapes = {key: _input_shape(split) for key, split in splits.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{key} {'x'.join(map(str, s))}" for key, s in shapes.items())
        raise DataError(
            f"the inputs of {name} differ in shape: {listed}; give all splits one shape (for PIL "
            f"images, pass image_size)"
        )
    shape = shapes["train"]
    if len(shape) == 3 and shape[0] > 4 and shape[2] in (1, 3):  # floats: uint8 is refused
        logger.warning(
            "inputs of shape %s are read as %d channels of %dx%d; if they are images, put their "
            "channels first: inputs.permute(0, 3, 1, 2)",
            "x".join(map(str, shape)),
            *shape,
        )
    return shape


def _instead(value: Any) -> str:
    """Return what to give instead of something that is no data, as the end of a sentence."""
    if isinstance(value, nn.Module):
        return ", which is a network: the network comes first, then the data"
    if isinstance(value, (Tensor, np.ndarray)):
        return "; give the labels, too"
    if isinstance(value, DataLoader):
        return "; give its .dataset"
    return ""


def _numbers(labels: Any) -> Tensor:
    values = read_labels(labels, "the array of labels")
    if values.dtype.kind == "U":
        raise DataError(
            f"labels must be whole numbers, not names like {str(values[0])!r}; number the classes "
            f"and pass their names as classes=..."
        )
    return torch.from_numpy(values)


def _numbers_as_names(labels: np.ndarray[Any, Any]) -> list[str]:
    highest = int(labels.max(initial=0))
    if highest >= max(1, len(labels)):
        raise DataError(
            f"a label is {highest}, but there are only {len(labels)} training items, so some "
            f"classes have none; number the classes 0, 1, 2, ... without gaps"
        )
    return [str(i) for i in range(highest + 1)]


def _check_labels(splits: Mapping[str, Split], classes: Sequence[str]) -> None:
    for key, split in splits.items():
        if len(split) == 0:
            raise DataError(f"the {key} split is empty")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= len(classes):
            raise DataError(
                f"the {key} labels go from {low} to {high}; for {len(classes)} classes they must "
                f"be 0 to {len(classes) - 1}"
            )
    if len(classes) < 2:
        raise DataError(f"there is only one class ({', '.join(classes)}); at least 2 are needed")
    counts = torch.bincount(splits["train"].labels, minlength=len(classes))
    if empty := [classes[i] for i in range(len(classes)) if counts[i] == 0]:
        raise DataError(
            f"no training images of class {', '.join(empty[:5])}{', ...' * (len(empty) > 5)}; add "
            f"some, or number the classes 0, 1, 2, ... without gaps"
        )


def _input_shape(split: Split) -> tuple[int, ...]:
    return tuple(_input(split, 0).shape)


def _input(split: Split, number: int) -> Tensor:
    if isinstance(split, TensorSplit):
        return split.inputs[number]
    image: Tensor = split.dataset[int(split.indices[number])][0]
    return image


def _statistics(split: Split, most: int = 2000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation by channel, of at most ``most`` evenly spaced images."""
    chosen = torch.linspace(0, len(split) - 1, min(most, len(split))).tolist()
    images = (_input(split, int(number)) for number in chosen)
    first = _input(split, 0)
    if first.dtype != torch.uint8 or first.ndim != 3:
        return (), ()
    # How often each level occurs, (C, 256): exact, and small however large the images are.
    counts = torch.zeros(len(first), 256, dtype=torch.int64)
    for image in images:
        for count, channel in zip(counts, image, strict=True):
            count += torch.bincount(channel.flatten(), minlength=256)
    levels = torch.arange(256)
    pixels = int(counts[0].sum())
    mean, std = [], []
    for count in counts:
        total, squares = int((count * levels).sum()), int((count * levels**2).sum())
        mean.append(total / pixels / 255)
        spread = (pixels * squares - total**2) / (pixels * max(1, pixels - 1))
        std.append(max(math.sqrt(spread) / 255, 1e-3))
    return tuple(mean), tuple(std)
