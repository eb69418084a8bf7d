"""load_data(): a task from a name or a path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ddpnas.data import _files as files
from ddpnas.data import folder
from ddpnas.data._arrays import FORM, Found, splits_of
from ddpnas.data.data import Data, make_data
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.data.splits import Split, TensorSplit
from ddpnas.errors import DataError, OptionError, nearest

__all__ = ["DataConfig", "as_data", "list_data", "load_data", "load_labelled"]

IN_MEMORY_BYTES = 2 * 1024**3  # of all splits together
_MOST_PIXELS = 4096  # a side

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
    """Which images, and how they are prepared.

    Args:
        data: name of an embedded set (listed by `ddpnas data`) or path of a folder of images, of a
            .npz file, or of a directory with CIFAR-10, CIFAR-100 or Fashion-MNIST files.
        image_size: images are cropped to a square and resized to so many pixels a side;
            default: of a folder the median of their smaller sides, at most 64; arrays keep
            their size.
        valid_fraction: part of the training images, of each class alike, held out to score
            architectures where no validation images are given.
        limit_train_images: use only so many training images (of each class alike).
        flip: whether images may be mirrored left to right in training; switch off where that
            changes their meaning.
        split_seed: random seed of which images are held out.
        workers: processes that read images ahead where they do not fit in memory.
    """

    data: str = "fashion-mnist-12k"
    image_size: int | None = None
    valid_fraction: float = 0.2
    limit_train_images: int | None = None
    flip: bool = True
    split_seed: int = 0
    workers: int = 0


def list_data() -> list[str]:
    """Return the names of the embedded sets."""
    return sorted(_EMBEDDED)


def load_data(
    data: str | Path | DataConfig, *, in_memory_bytes: int = IN_MEMORY_BYTES, **options: Any
) -> Data:
    """Return the task of that name or at that path.

    Args:
        data: name, path, or a whole :class:`DataConfig`.
        in_memory_bytes: Larger folders of images are read batch by batch.
        options: further fields of :class:`DataConfig`.

    Raises:
        DataError: what is wrong with which file, or what the path should hold.
        OptionError: an option that is no field.
    """
    if not isinstance(data, DataConfig):
        data = DataConfig(str(data))
    known = {field.name for field in dataclasses.fields(DataConfig)}
    if unknown := sorted(set(options) - known):
        raise OptionError(nearest("option of data", unknown[0], known))
    config = dataclasses.replace(data, **options)
    if config.image_size is not None and not 1 <= config.image_size <= _MOST_PIXELS:
        raise DataError(f"image_size is from 1 to {_MOST_PIXELS:,}, not {config.image_size}")
    if config.workers < 0:
        raise DataError(f"workers is 0 or more, not {config.workers}")
    path = Path(config.data).expanduser()
    if config.data not in _EMBEDDED:
        if not path.exists():
            hint = nearest("data", config.data, _EMBEDDED)
            raise DataError(f"there is no file or folder {str(path)!r}; as a name: {hint}")
        config = dataclasses.replace(config, data=str(path.resolve()))
    found = _read_arrays(config.data)
    classes, splits = found or folder.read_folder(
        path, config.image_size, config.workers, in_memory_bytes
    )
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
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> tuple[str, Split]:
    """Return (name of the split, images with labels) to score a trained network on.

    Args:
        data: name or path, see :class:`DataConfig`; a folder of class folders is taken whole.
        classes: of the network, by label; those of a folder have to be among them.
        input_shape: of the network, (channels, height, width).
        split: "train", "valid" or "test"; by default the last of these that is there.
        workers: processes that read images where they do not fit in memory.
        in_memory_bytes: Larger folders of images are read batch by batch.

    Raises:
        DataError: nothing there, classes that the network does not know, or no such split.
    """
    preprocessing = Preprocessing(tuple(input_shape))
    channels, height, width = preprocessing.image_shape
    path = Path(data).expanduser()
    arrays = _read_arrays(str(data))
    if arrays is None:
        mode = "L" if channels == 1 else "RGB"
        found: Mapping[str, Split] = folder.read_labelled(
            path, tuple(classes), (height, width), mode, split, workers, in_memory_bytes
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


def _read_arrays(data: str) -> Found | None:
    """Return (classes, splits) of an embedded set or of files of arrays, None of anything else."""
    if data in _EMBEDDED:
        file, classes = _EMBEDDED[data]
        with resources.files("ddpnas.data").joinpath("embedded", file).open("rb") as stream:
            return classes, splits_of(np.load(stream), data)[1]
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}")
    return files.read_npz(path) if path.is_file() else files.read_torchvision(path)


def as_data(data: Any) -> Data:
    """Return data as it is, by name or path, or made of a pair of tensors or a Dataset.

    Args:
        data: a :class:`Data`; what :func:`load_data` takes; or what :func:`make_data` takes as
            ``train``, of which a fifth then scores architectures and nothing is left for testing.

    Raises:
        DataError: see :func:`load_data` and :func:`make_data`.
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
        splits = {key: files.resized(value, config.image_size) for key, value in splits.items()}
    return make_data(
        **splits,
        classes=classes,
        name=name,
        valid_fraction=config.valid_fraction,
        test_fraction=test_fraction,
        limit_train_images=config.limit_train_images,
        flip=config.flip,
        seed=config.split_seed,
        source=dataclasses.asdict(config),
    )
