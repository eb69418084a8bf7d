"""Read a map-style ``Dataset`` once: check every item, and take the labels from the items."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ddpnas.data._images import brightest, fit_image, is_gray, note_few_levels, reading
from ddpnas.data._inputs import as_inputs, describe
from ddpnas.data._labels import read_label
from ddpnas.data._stream import drawing
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.errors import DataError
from ddpnas.utils.settings import Interpolation

__all__ = ["read_dataset"]


def read_dataset(
    dataset: Any, image_size: int | None, name: str, interpolation: Interpolation = "bilinear"
) -> Split:
    """Return a split of a dataset: images in memory, other inputs item by item.

    Every item is read once, with fixed seeds. The labels are those of the items: an attribute
    such as ``targets`` is not read, because a ``target_transform`` or a wrapper may change it.

    Args:
        dataset: Map-style dataset of (input, label). Inputs are PIL images or tensors.
        image_size: Size of PIL images; by default the smaller side of the first.
        name: What to call the dataset in messages.
        interpolation: How PIL images are resized.

    Raises:
        DataError: An item cannot be read, is no pair, or differs from the first one in kind,
            type or shape; a label is not a whole number. The message names the item's number.
    """
    if isinstance(dataset, IterableDataset):
        raise DataError(
            f"{name} is an IterableDataset, whose items cannot be read by number; give a map-style "
            f"Dataset, or list(dataset) if it fits in memory"
        )
    count = len(dataset)
    if count == 0:
        raise DataError(f"{name} is empty")
    with drawing(seed=0):
        first, _ = _item(dataset, 0, name)
        if isinstance(first, Image.Image):
            return _pictures(dataset, count, image_size or min(first.size), name, interpolation)
        split = _Checked(dataset, first, name)
        items = [split[number] for number in range(count)] if split.images else []
        labels = [label for _, label in items] or [split[number][1] for number in range(count)]
    if split.images:
        return TensorSplit(as_inputs(torch.stack([one for one, _ in items])), torch.tensor(labels))
    split.labels = labels
    return DatasetSplit(split, torch.arange(count), torch.tensor(labels))


class _Checked(Dataset[tuple[Tensor, int]]):
    """A dataset of tensors whose items stay what they were when they were first read.

    Args:
        dataset: Map-style dataset of (tensor, label).
        first: Input of the first item; all inputs have its shape and type.
        name: What to call the dataset in messages.
    """

    def __init__(self, dataset: Any, first: Any, name: str) -> None:
        self.labels: list[int] | None = None  # not known before all items have been read
        self._dataset, self._name = dataset, name
        self._first = describe(_tensor(first, 0, name))
        self.images = first.dtype == torch.uint8
        if not self.images:
            as_inputs(first[None])  # raises for a type that networks do not take

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        given, label = _item(self._dataset, number, self._name)
        tensor = _tensor(given, number, self._name)
        if describe(tensor) != self._first:
            raise DataError(
                f"item {number} of {self._name} is {describe(tensor)} and item 0 {self._first}; "
                f"give all inputs one type and one shape"
            )
        if self.labels is not None and label != self.labels[number]:
            raise DataError(
                f"the label of item {number} of {self._name} was {self.labels[number]} and is now "
                f"{label}; an item must always have the same label"
            )
        if not tensor.is_floating_point():
            return tensor, label
        if not (values := tensor.float()).isfinite().all():
            raise DataError(
                f"the input of item {number} of {self._name} holds values that are no finite "
                f"numbers; leave it out, or put numbers there"
            )
        return values, label


def _pictures(
    dataset: Any, count: int, size: int, name: str, interpolation: Interpolation
) -> Split:
    """Return PIL images as a split in memory: gray if all of them are."""
    images, labels, pixels = [], [], []
    for number in range(count):
        image, label = _item(dataset, number, name)
        if not isinstance(image, Image.Image):
            raise DataError(
                f"item {number} of {name} has a {type(image).__name__} as its input and item 0 a "
                f"PIL image; give all inputs as one kind"
            )
        with reading(f"the image of item {number} of {name}"):
            pixels.append(brightest(image))
            mode = "L" if is_gray(image.mode) else "RGB"
            images.append(fit_image(image, size, mode, interpolation))
        labels.append(label)
    note_few_levels(f"the images of {name}", pixels)
    channels = max(len(image) for image in images)
    return TensorSplit(
        torch.stack([image.expand(channels, -1, -1) for image in images]), torch.tensor(labels)
    )


def _item(dataset: Any, number: int, name: str) -> tuple[Any, int]:
    """Return the input and the label of an item."""
    try:
        item = dataset[number]
    except DataError:
        raise
    except Exception as error:  # whatever the user's code raises: the number is missing there
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"item {number} of {name} cannot be read: {reason}") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        kind = type(item).__name__
        if isinstance(item, dict):
            kind += f" of {', '.join(map(str, item))}"
        elif isinstance(item, (tuple, list)):
            kind += f" of {len(item)}"
        raise DataError(
            f"item {number} of {name} must be a pair (input, label), not {kind}; wrap the "
            f"dataset in one whose __getitem__ returns that pair"
        )
    return item[0], read_label(item[1], f"the label of item {number} of {name}")


def _tensor(given: Any, number: int, name: str) -> Tensor:
    if not isinstance(given, Tensor):
        raise DataError(
            f"item {number} of {name} has a {type(given).__name__} as its input; inputs must be "
            f"PIL images or tensors of one shape"
        )
    return given.detach().cpu()
