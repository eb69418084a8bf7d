"""load_data(): a task from a name or a path."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ddpnas.data import _files as files
from ddpnas.data import folder
from ddpnas.data._arrays import FORM, Found, splits_of
from ddpnas.data.data import Data, make_data
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.errors import DataError, nearest
from ddpnas.utils.files import expanded
from ddpnas.utils.memory import free_memory
from ddpnas.utils.settings import (
    Fraction,
    Interpolation,
    MostImages,
    Pixels,
    Seed,
    checked_fields,
    checked_options,
    checks_arguments,
)
from ddpnas.utils.shapes import Range, hints_of

__all__ = ["DataConfig", "as_data", "list_data", "load_data", "load_labelled"]

_SHARE = 0.25  # of the free memory that all splits together may take

# Embedded sets: file in ddpnas/data/embedded, class names by label.
_EMBEDDED = {
    "fashion-mnist-12k": (
        "fashion_mnist_12k.npz",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "sign-digits-small": ("sign_digits_small.npz", tuple("0123456789")),
}


@dataclass(frozen=True)
class DataConfig:
    """Which images to read, and how they are prepared.

    Args:
        data: Name of an embedded set (listed by `ddpnas data`), or path of a folder of images, a
            .npz file, or a directory with the files of CIFAR-10, CIFAR-100 or Fashion-MNIST.
        image_size: Crop images to a square and resize them to this many pixels a side. By default
            the median of the smaller sides for a folder, at most 64; arrays keep their size.
        interpolation: How images are resized, bilinear or bicubic.
        valid_fraction: Fraction of each class in the training images to hold out for scoring
            architectures, if there are no validation images.
        limit_train_images: Use only this many training images, the same fraction of each class.
        flip: Whether images may be mirrored left to right in training. Switch this off if left and
            right matter.
        split_seed: Seed for choosing the images to hold out.
        workers: Processes that read images ahead if they do not fit in memory.
        stream: Whether the images of a folder are read from disk, batch by batch; by default if
            they would take more than a quarter of the free memory.

    Example:
        >>> DataConfig("photos", image_size=32).valid_fraction
        0.2
    """

    data: str = "fashion-mnist-12k"
    image_size: Pixels | None = None
    interpolation: Interpolation = "bilinear"
    valid_fraction: Fraction = 0.2
    limit_train_images: MostImages | None = None
    flip: bool = True
    split_seed: Seed = 0
    workers: Annotated[int, Range(0, 1024)] = 0
    stream: bool | None = None

    def __post_init__(self) -> None:
        checked_fields(self, "the data")


def list_data() -> list[str]:
    """Return the names of the embedded sets.

    Example:
        >>> list_data()
        ['fashion-mnist-12k', 'sign-digits-small']
    """
    return sorted(_EMBEDDED)


@checks_arguments
def load_data(data: str | Path | DataConfig, **options: Any) -> Data:
    """Return the images of that name or at that path, with their splits.

    If a folder or file names no images for testing or validation, a fifth is held out for testing.

    Args:
        data: Name or path, see :class:`DataConfig`, or a whole :class:`DataConfig`.
        options: Further fields of :class:`DataConfig`.

    Raises:
        DataError: The message names the file and what is wrong with it, or says what the path
            should hold.
        OptionError: An option is unknown, of another type or out of range.

    Example:
        >>> data = load_data("sign-digits-small", limit_train_images=100)
        >>> len(data.classes), data.input_shape
        (10, (3, 32, 32))
    """
    if not isinstance(data, DataConfig):
        data = DataConfig(str(data))
    options = checked_options("the data", hints_of(DataConfig), options)
    config = dataclasses.replace(data, **options)
    if not config.data:
        raise DataError("the name or path of the data is empty; `ddpnas data` lists names")
    path = expanded(config.data)
    if config.data not in _EMBEDDED:
        if not path.exists():
            hint = nearest("data", config.data, _EMBEDDED)
            raise DataError(f"there is no file or folder {str(path)!r}; as a name: {hint}")
        config = dataclasses.replace(config, data=str(path.resolve()))
    found = _read_arrays(config.data)
    classes, splits = found or folder.read_folder(
        path, config.image_size, config.workers, _most_bytes(config.stream), config.interpolation
    )
    # So that the images are stored the same way when they are read again.
    config = dataclasses.replace(config, stream=isinstance(splits.get("train"), DatasetSplit))
    if "train" not in splits:
        raise DataError(f"{path} has no train_images and train_labels; needed: {FORM}")
    if config.data in _EMBEDDED:
        return _make(config, config.data, classes, splits, test_fraction=0.0)
    # Where nobody said which images are for testing, a fifth is kept apart for that; a folder
    # with its own validation images is reported on those, as is usual.
    test_fraction = 0.0 if {"test", "valid"} & set(splits) else 0.2
    name = Path(config.data).stem if path.is_file() else Path(config.data).name
    return _make(config, name, classes, splits, test_fraction)


def load_labelled(
    data: str | Path,
    classes: Sequence[str],
    input_shape: Sequence[int],
    split: str | None = None,
    workers: int = 0,
    stream: bool | None = None,
    interpolation: Interpolation = "bilinear",
) -> tuple[str, Split]:
    """Return (name of the split, images with labels) to score a trained network on.

    Args:
        data: Name or path, see :class:`DataConfig`. A folder of class folders is read whole.
        classes: Classes of the network, by label; those of a folder must be among them.
        input_shape: Shape of an input of the network, (channels, height, width).
        split: "train", "valid" or "test"; by default the last of these that there is.
        workers: Processes that read images if they do not fit in memory.
        stream: Whether the images of a folder are read batch by batch; None as for
            :class:`DataConfig`.
        interpolation: How images are resized.

    Raises:
        DataError: There are no such images or no such split, or the network does not know a class.

    Example:
        >>> name, split = load_labelled("sign-digits-small", tuple("0123456789"), (3, 32, 32))
        >>> name, split.inputs.shape[1:]
        ('test', torch.Size([3, 32, 32]))
    """
    preprocessing = Preprocessing(tuple(input_shape), interpolation=interpolation)
    channels, height, width = preprocessing.image_shape
    path = expanded(data)
    arrays = _read_arrays(str(data))
    if arrays is None:
        mode = "L" if channels == 1 else "RGB"
        found: Mapping[str, Split] = folder.read_labelled(
            path,
            tuple(classes),
            (height, width),
            mode,
            split,
            workers,
            _most_bytes(stream),
            interpolation,
        )
    else:
        names, splits = arrays
        if names is not None and names != tuple(classes):
            raise DataError(
                f"the classes of {data} are {', '.join(names)}; the network knows "
                f"{', '.join(classes)}"
            )
        found = {
            name: TensorSplit(preprocessing.fit(one.inputs), one.labels)
            for name, one in splits.items()
            if isinstance(one, TensorSplit)
        }
    name = split or [key for key in ("all", "train", "valid", "test") if key in found][-1]
    if name not in found:
        raise DataError(f"{data} has no split {name!r}; it has {', '.join(found)}")
    for label in (int(found[name].labels.min()), int(found[name].labels.max())):
        if not 0 <= label < len(classes):
            raise DataError(
                f"a label of {data} is {label}; the network knows {len(classes)} classes, 0 to "
                f"{len(classes) - 1}"
            )
    return name, found[name]


def _most_bytes(stream: bool | None) -> int:
    """Return how many bytes of images are kept in memory."""
    if stream is None:
        return int(_SHARE * free_memory())
    return 0 if stream else sys.maxsize


def _read_arrays(data: str) -> Found | None:
    """Return (classes, splits) of an embedded set or of files of arrays, None of anything else."""
    if data in _EMBEDDED:
        file, classes = _EMBEDDED[data]
        with resources.files("ddpnas.data").joinpath("embedded", file).open("rb") as stream:
            return classes, splits_of(np.load(stream), data)[1]
    path = expanded(data)
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}")
    if path.is_dir():
        return files.read_torchvision(path)
    if not path.is_file():
        raise DataError(f"{path} is a pipe or a device; give a folder or a file")
    return files.read_npz(path)


def as_data(data: Any) -> Data:
    """Return data, given in any form that ddpnas accepts.

    Args:
        data: A :class:`Data`; what :func:`load_data` takes; or what :func:`make_data` takes as
            ``train``, with a fifth held out for validation and no test items.

    Raises:
        DataError: See :func:`load_data` and :func:`make_data`.

    Example:
        >>> import torch
        >>> as_data((torch.randn(10, 4), torch.arange(10) % 2)).held_out
        'valid'
    """
    if isinstance(data, Data):
        return data
    if isinstance(data, (str, Path, DataConfig)):
        return load_data(data)
    return make_data(data)


def _make(
    config: DataConfig,
    name: str,
    classes: tuple[str, ...] | None,
    splits: dict[str, Any],
    test_fraction: float,
) -> Data:
    if config.image_size is not None:
        _check_room(name, splits, config.image_size)
        splits = {
            key: files.resized(value, config.image_size, config.interpolation)
            for key, value in splits.items()
        }
    return make_data(
        **splits,
        classes=classes,
        name=name,
        valid_fraction=config.valid_fraction,
        test_fraction=test_fraction,
        limit_train_images=config.limit_train_images,
        interpolation=config.interpolation,
        flip=config.flip,
        seed=config.split_seed,
        source=dataclasses.asdict(config),
    )


def _check_room(name: str, splits: Mapping[str, Split], size: int) -> None:
    """Check that images in memory can be resized to a size.

    Raises:
        DataError: They would take more memory than is free; choosing the splits copies them.
    """
    shapes = [one.inputs.shape for one in splits.values() if isinstance(one, TensorSplit)]
    resized = [shape for shape in shapes if shape[2:] != (size, size)]
    needed = sum(2 * shape[0] * shape[1] * size**2 for shape in resized)
    if needed > (free := free_memory()):
        raise DataError(
            f"the images of {name} would take {needed / 1e9:.1f} GB at {size} pixels a side, and "
            f"{free / 1e9:.1f} GB are free; give a smaller --image-size, or a folder of image "
            f"files, which is read batch by batch"
        )
