"""Find the image files of folders that have one folder for each class: every file once."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ddpnas.data._images import file_status
from ddpnas.data._labels import check_classes
from ddpnas.errors import DataError

__all__ = [
    "SPLIT_LIKE",
    "class_names",
    "counted",
    "each_once",
    "files_below",
    "images_of_classes",
    "is_image",
    "kinds",
    "looked_for",
    "subfolders",
]

logger = logging.getLogger(__name__)

SPLIT_LIKE = {"train", "training", "valid", "val", "validation", "test", "testing"}

Samples = list[tuple[str, int]]  # (path, label)


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the class folders in a folder, sorted.

    Raises:
        DataError: There are fewer than two, one of them has a name that cannot be written, or
            they hold splits.
    """
    classes = tuple(subfolders(root))
    if len(classes) < 2:
        found = f"one class only ({classes[0]})" if classes else "no class folders"
        inner = [root / name for name in classes if len(subfolders(root / name)) > 1]
        raise DataError(
            f"{root} holds {found}; at least two folders are needed, each with the images of "
            f"one class{f'; or is it {inner[0]} that holds them?' if inner else ''}"
        )
    check_classes(classes, f"the class folders of {root}")
    for name in classes:
        within = subfolders(root / name)
        splits = [one for one in within if one.lower() in SPLIT_LIKE]
        if len(splits) > 1:
            raise DataError(
                f"the class folder {root / name} holds splits ({', '.join(splits)}); splits are "
                f"outside: train/{name}, test/{name} and so on"
            )
        if name.lower() in SPLIT_LIKE and set(within) & set(classes):
            raise DataError(
                f"{root / name} holds class folders, so it is a split inside a split; move it "
                f"next to {root.name}/, or rename it"
            )
    return classes


def images_of_classes(root: Path, classes: tuple[str, ...], *, complete: bool) -> Samples:
    """Return the image files in the class folders of a folder, with their labels.

    Args:
        root: The folder.
        classes: Names by label.
        complete: Whether every class must be there.

    Raises:
        DataError: A class is not known, a class has no images though it should be complete, or
            there is no image at all.
    """
    folders = subfolders(root)
    if not folders:
        raise DataError(
            f"{root} has no class folders; put the images of each class into a folder named after "
            f"it; if this is a split without labels, rename it to leave it out"
        )
    if extra := [name for name in folders if name not in classes]:
        raise DataError(
            f"{root} has class {extra[0]!r}, which the training images lack; they have "
            f"{', '.join(classes)}"
        )
    labels = {name: label for label, name in enumerate(classes)}
    samples: Samples = []
    for name in folders:
        files = sorted(files_below(root / name), key=lambda file: (str(file.parent), file.name))
        images = [str(file) for file in files if is_image(file)]
        if complete and not images:
            raise DataError(f"the class folder {root / name} has no images{looked_for(files)}")
        samples += [(image, labels[name]) for image in images]
    if not samples:
        raise DataError(f"{root} has no images")
    return samples


def each_once(splits: Mapping[str, Samples], classes: tuple[str, ...]) -> dict[str, Samples]:
    """Return the samples without second names of the same file, such as links.

    Args:
        splits: Samples of each split.
        classes: Names by label.

    Raises:
        DataError: A file is in two classes or in two splits, or is no regular file.
    """
    found: dict[object, tuple[str, str, int]] = {}
    kept: dict[str, Samples] = {split: [] for split in splits}
    for split, samples in splits.items():
        for path, label in samples:
            status = file_status(path)
            # Some network file systems number no files.
            identity = (status.st_dev, status.st_ino) if status.st_ino else path
            other, other_split, other_label = found.setdefault(identity, (path, split, label))
            if label != other_label:
                raise DataError(
                    f"{path} and {other} are the same file, so one image is in the classes "
                    f"{classes[other_label]!r} and {classes[label]!r}; keep it in one of them"
                )
            if split != other_split:
                raise DataError(
                    f"{path} and {other} are the same file, so the splits {other_split} and "
                    f"{split} share an image; keep it in one of them"
                )
            if path == other:
                kept[split].append((path, label))
    count, names = sum(map(len, kept.values())), sum(map(len, splits.values()))
    if names > count:
        logger.info("left out: %d links to images that are there already", names - count)
    return kept


def files_below(root: Path) -> Iterator[Path]:
    """Yield all files in a folder and the folders in it, linked ones too; hidden ones left out.

    A folder is entered once, whatever links lead to it.

    Raises:
        DataError: A folder cannot be read.
    """
    entered = {os.path.realpath(root)}
    for folder, inner, names in os.walk(root, followlinks=True, onerror=_unreadable):
        here = Path(os.path.realpath(folder))
        chosen = []
        for name in sorted(inner):
            real = os.path.realpath(here / name)
            if not _hidden(name) and real not in entered and not here.is_relative_to(real):
                entered.add(real)
                chosen.append(name)
        inner[:] = chosen
        yield from (Path(folder, name) for name in names if not _hidden(name))


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones.

    A link to a folder above is left out.
    """
    above = root.resolve()
    return sorted(
        one.name
        for one in root.iterdir()
        if one.is_dir() and not _hidden(one.name) and not above.is_relative_to(one.resolve())
    )


def is_image(file: Path) -> bool:
    """Return whether the name of a file ends as those of images do."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return file.suffix.lower() in IMG_EXTENSIONS


def kinds(files: Iterable[Path]) -> Counter[str]:
    """Return how many files have which ending."""
    return Counter(file.suffix.lower() or "without an ending" for file in files)


def counted(found: Counter[str]) -> str:
    """Return the numbers of files of each kind in words."""
    return ", ".join(f"{count:,} {kind}" for kind, count in found.most_common())


def looked_for(files: Iterable[Path]) -> str:
    """Return which files are read and, of others that were found, what could be done."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    read = f" (looked for {' '.join(IMG_EXTENSIONS)})"
    others = kinds(files)
    if not others:
        return read
    return f"{read}, but {counted(others)}; save these as .png or .jpg if they are images"


def _hidden(name: str) -> bool:
    """Return whether a file is not the user's: of a system or an editor."""
    return name.startswith(".") or name == "__MACOSX"


def _unreadable(error: OSError) -> None:
    raise DataError(f"the folder {error.filename} cannot be read: {error.strerror}")
