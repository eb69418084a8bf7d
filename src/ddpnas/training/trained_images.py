"""The images of a trained network: where they are on this machine, and whether these are they.

The folder of a trained network is for others, so it says how its data was read, a hash of it and
the name of its file or folder, but not where that lies. The run that it comes from knows that.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ddpnas.data.data import Data
from ddpnas.data.load import list_data, load_data
from ddpnas.errors import DataError, RunError

__all__ = ["find_images", "read_images"]


def read_images(kept: Mapping[str, Any], folder: Path | None, run: str | Path | None) -> Data:
    """Return the data of a training, read and split as then.

    Args:
        kept: what the folder keeps of it: ``source`` and ``fingerprint``.
        folder: of the trained network.
        run: folder of the run that knows where the images are; None for the one around ``folder``.

    Raises:
        RunError: it came from Python objects, or is not there, or is not what it was.
    """
    name = folder or "this network"
    source = dict(kept.get("source", {}))
    if not source:
        raise RunError(f"the data of {name} came from Python objects; name some images with --data")
    called = str(source.pop("data"))
    where = _place(called, folder, run)
    if where is None:
        raise RunError(
            f"{name} can be given away, so it does not say where its images ({called}) are on this "
            f"machine; name them with --data"
        )
    if where not in list_data() and not Path(where).exists():
        raise RunError(
            f"the images that {name} was trained on are no longer at {where}; name some images "
            f"with --data"
        )
    data = load_data(where, **source)
    if not _same(data, kept):
        raise RunError(
            f"the images in {where} are not those that {name} was trained on: other files, classes "
            f"or splits, so that test images may be ones that it learned from; name some images "
            f"with --data"
        )
    return data


def find_images(kept: Mapping[str, Any], data: str | Path) -> Data | None:
    """Return the data of a training, split as then, if that is what is there; else None.

    Args:
        kept: see :func:`read_images`.
        data: path or name.
    """
    source = dict(kept.get("source", {}))
    if not source:
        return None
    try:
        with _silent():  # what is said of its splits holds only if it is that data
            found = load_data(**{**source, "data": data})
    except DataError:
        return None  # nothing that a training can read
    return found if _same(found, kept) else None


def _same(data: Data, kept: Mapping[str, Any]) -> bool:
    """Return whether that is the data; an embedded set is, whatever resized it."""
    name = data.source["data"]
    if name in list_data() and name == kept["source"]["data"]:
        return True
    return data.fingerprint() == str(kept["fingerprint"])


def _place(kept: str, folder: Path | None, run: str | Path | None) -> str | None:
    """Return name or path of the images; None where only their file's or folder's name is known."""
    if kept in list_data() or Path(kept).is_absolute():  # a path: of an older version
        return kept
    if folder is not None and kept.startswith("."):  # as seen from there: of a still older one
        return str((folder / kept).resolve())
    if run is None and folder is not None:
        run = folder.resolve().parent
    if run is None or not (Path(run) / "run.json").is_file():
        return None
    config = yaml.safe_load((Path(run) / "config.yaml").read_text(encoding="utf-8"))
    return str(config["data"]) if "data" in config else None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("ddpnas.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
