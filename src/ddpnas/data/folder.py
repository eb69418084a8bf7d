"""A folder of images: one folder a class, under ``train/``, ``valid/``, ``test/`` or by itself."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddpnas.data._image_files import (
    SPLIT_LIKE,
    class_names,
    counted,
    each_once,
    files_below,
    images_of_classes,
    is_image,
    kinds,
    looked_for,
    subfolders,
)
from ddpnas.data._images import (
    brightest,
    file_status,
    fit_file,
    is_gray,
    note_few_levels,
    open_image,
)
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.errors import DataError
from ddpnas.utils.settings import Interpolation

__all__ = ["FolderImages", "images_below", "read_folder", "read_labelled"]

logger = logging.getLogger(__name__)

LARGEST_DEFAULT = 64  # pixels a side, where no --image-size is given
_PROBED = 256  # images whose headers decide on the size and on grey or colour
_NAMED = 10  # of the images that cannot be read
_SPLITS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


class FolderImages(Dataset[tuple[Tensor, int]]):
    """Image files as (C, size, size) or (C, *size) uint8 tensors with labels."""

    def __init__(
        self,
        samples: Sequence[tuple[str, int]],
        size: int | tuple[int, int],
        mode: str,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        self.samples, self.size, self.mode = samples, size, mode
        self.interpolation: Interpolation = interpolation

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        return fit_file(path, self.size, self.mode, self.interpolation), label


def read_folder(
    path: Path,
    image_size: int | None,
    workers: int,
    in_memory_bytes: int,
    interpolation: Interpolation = "bilinear",
) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Return (classes, splits) of a folder of images.

    Args:
        path: with ``train/`` and optionally ``valid/`` (or ``val/``) and ``test/``, each with a
            folder a class; or with folders a class only.
        image_size: pixels a side; None for the median of the images' smaller sides, at most 64.
        workers: processes that read images of sets too large for memory.
        in_memory_bytes: larger sets are read batch by batch.
        interpolation: how images are resized.

    Raises:
        DataError: no classes, one class, a class without images, an unreadable image (which).
    """
    roots = _roots(path)
    if roots["train"] is None:
        roots = {"train": path, "valid": None, "test": None}
        if like := [name for name in subfolders(path) if name.lower() in SPLIT_LIKE]:
            raise DataError(
                f"{path} has a folder {like[0]!r} but none 'train'; name the folders of the splits "
                f"train, valid and test"
            )
    classes = class_names(roots["train"] or path)
    samples = each_once(
        {
            key: images_of_classes(root, classes, complete=key == "train")
            for key, root in roots.items()
            if root is not None
        },
        classes,
    )
    _say_left_out(path, [root for root in roots.values() if root is not None], samples.values())
    size, mode, errors = _format(samples["train"], image_size)
    images = {key: FolderImages(files, size, mode, interpolation) for key, files in samples.items()}
    channels = 1 if mode == "L" else 3
    total = sum(len(files) for files in samples.values()) * channels * size**2
    if total <= in_memory_bytes:  # all splits or none, so that they can be joined
        return classes, {key: _in_memory(files) for key, files in images.items()}
    if errors:
        raise _all_unreadable(errors, len(samples["train"]))
    return classes, {
        key: _streamed(files, roots[key] or path, workers) for key, files in images.items()
    }


def read_labelled(
    path: Path,
    classes: tuple[str, ...],
    size: tuple[int, int],
    mode: str,
    split: str | None,
    workers: int,
    in_memory_bytes: int,
    interpolation: Interpolation = "bilinear",
) -> dict[str, Split]:
    """Return splits of a folder of images whose classes and size are given.

    Args:
        path: with ``train/``, ``valid/`` or ``test/``, of which only the wanted one is read; or
            with folders a class only, which are the split "all".
        classes: names by label; the folder may lack some.
        size: (height, width).
        mode: "L" for one grey channel or "RGB".
        split: the wanted one; None for test, or else valid, or else train.
        workers: processes that read images of sets too large for memory.
        in_memory_bytes: larger sets are read batch by batch.
        interpolation: how images are resized.

    Raises:
        DataError: a class that is not known, no images, an unreadable image (which).
    """
    roots = _roots(path)
    there = {key: root for key, root in roots.items() if root is not None} or {"all": path}
    name = split if split is not None else list(there)[-1]
    if name not in there:
        raise DataError(f"{path} has no split {name!r}; it has {', '.join(there)}")
    found = images_of_classes(there[name], classes, complete=False)
    samples = each_once({name: found}, classes)[name]
    _say_left_out(path, [there[name]], [samples])
    images = FolderImages(samples, size, mode, interpolation)
    total = len(images) * (1 if mode == "L" else 3) * size[0] * size[1]
    if total <= in_memory_bytes:
        return {name: _in_memory(images)}
    return {name: _streamed(images, there[name], workers)}


def images_below(path: Path) -> list[Path]:
    """Return all image files in a folder and the folders in it, sorted; hidden ones left out.

    Raises:
        DataError: there is none.
    """
    files = sorted(files_below(path))
    found = [file for file in files if is_image(file)]
    others = [file for file in files if not is_image(file)]
    if not found:
        raise DataError(f"{path} has no images{looked_for(others)}")
    if others:
        logger.info("left out in %s: %s", path, counted(kinds(others)))
    return found


def _say_left_out(
    path: Path, roots: Sequence[Path], samples: Iterable[Sequence[tuple[str, int]]]
) -> None:
    """Log how many files of which kind are not read: of no known ending, or in no class folder."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    left: Counter[str] = Counter()
    for root in roots:
        files = list(files_below(root))
        images = [file for file in files if is_image(file)]
        left += kinds(file for file in files if not is_image(file))
        if outside := sum(file.parent == root for file in images):
            left["in no class folder"] += outside
    if not left:
        return
    read = sum(map(len, samples))
    if left.total() <= read:
        logger.info("left out in %s: %s; read: %d images", path, counted(left), read)
    else:
        logger.warning(
            "MOST files in %s are left out: %s; only %d images (%s) are read. If the others are "
            "images, save them as .png or .jpg in the folder of their class",
            path,
            counted(left),
            read,
            " ".join(IMG_EXTENSIONS),
        )


def _roots(path: Path) -> dict[str, Path | None]:
    """Return the folder of each split; None where there is none.

    Raises:
        DataError: A folder seems to be a split, but has another name.
    """
    roots = {key: _root(path, names) for key, names in _SPLITS.items()}
    known = [root for root in roots.values() if root is not None]
    for name in subfolders(path):
        # Where case does not count, as on macOS, "Test" was found as "test".
        if name.lower() in SPLIT_LIKE and not any(root.samefile(path / name) for root in known):
            raise DataError(
                f"{path} has a folder {name!r}, whose images would not be read; name the folders "
                f"of the splits train, valid and test"
            )
    return roots


def _root(path: Path, names: Sequence[str]) -> Path | None:
    """Return the folder of a split by one of its names; None if there is none."""
    there = [path / name for name in names if (path / name).is_dir()]
    if len(there) > 1:
        raise DataError(f"{there[0]} and {there[1]} are the same split; keep one of them")
    return there[0] if there else None


def _format(
    samples: Sequence[tuple[str, int]], image_size: int | None
) -> tuple[int, str, list[DataError]]:
    """Return (pixels a side, "L" or "RGB", errors) from the headers of some of the images.

    The size is by default the median of the smaller sides, which a few small images do not change.

    Raises:
        DataError: None of these images can be read.
    """
    step = max(1, len(samples) // _PROBED)
    sizes, grays, pixels, errors = [], [], [], []
    for path, _ in samples[::step]:
        try:
            with open_image(path) as image:
                sizes.append(image.size)
                grays.append(is_gray(image.mode))
                pixels.append(brightest(image))
        except DataError as error:
            errors.append(error)
    if not sizes:
        raise _all_unreadable(errors, len(samples))
    note_few_levels("the images", pixels)
    mode = "L" if all(grays) else "RGB"
    if image_size is not None:
        return image_size, mode, errors
    size = min(statistics.median_low(min(size) for size in sizes), LARGEST_DEFAULT)
    if set(sizes) != {(size, size)}:
        logger.info("images are cropped and resized to %dx%d; see --image-size", size, size)
    return size, mode, errors


def _labels(images: FolderImages) -> Tensor:
    return torch.tensor([label for _, label in images.samples])


def _in_memory(images: FolderImages) -> Split:
    def read(index: int) -> Tensor | DataError:
        try:
            return images[index][0]
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(read, range(len(images))))
    if errors := [one for one in found if isinstance(one, DataError)]:
        raise _all_unreadable(errors, len(images))
    return TensorSplit(torch.stack(cast(list[Tensor], found)), _labels(images))


def _all_unreadable(errors: Sequence[DataError], files: int) -> DataError:
    """Return one error for all images that cannot be read, so that nobody mends them one by one."""
    if len(errors) == 1:
        return DataError(f"{errors[0]}; remove it, or save it again")
    named = "; ".join(map(str, errors[:_NAMED]))
    more = f"; and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
    return DataError(
        f"{len(errors):,} of {files:,} images cannot be read; remove them, or save them again: "
        f"{named}{more}"
    )


def _streamed(images: FolderImages, root: Path, workers: int) -> Split:
    # With the sizes, another image under an old name is noticed without reading all of them.
    names = tuple(
        f"{Path(path).relative_to(root)} {file_status(path).st_size}" for path, _ in images.samples
    )
    return DatasetSplit(images, torch.arange(len(images)), _labels(images), workers, names)
