"""Find the images that a network was trained on, and check that they are still the same.

The folder of a trained network is made to be shared, so it holds no local paths: only how its data
were read, their hash, and the name of their file or folder. The run that it comes from knows where
they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, list_data, load_data
from ddpnas.errors import DataError, RunError
from ddpnas.utils.quiet import quieted
from ddpnas.utils.read import checked_content

__all__ = ["find_images", "read_images"]


def read_images(kept: Mapping[str, Any], folder: Path | None, place: str | Path | None) -> Data:
    """Return the data of a training, read and split as they were then.

    Args:
        kept: What the folder keeps of its data: ``source`` and ``fingerprint``.
        folder: Folder of the trained network.
        place: Path or name of the images; None where only ``kept`` may know it.

    Raises:
        RunError: The data came from Python objects, are not found, or have changed.
    """
    name = folder or "this network"
    source = dict(kept.get("source", {}))
    if not source:
        raise RunError(f"the data of {name} came from Python objects; name some images with --data")
    called = checked_content(source, DataConfig, f"the source of the data of {name}").data
    # An embedded set is known by its name, and a network in memory knows the path.
    known = called in list_data() or Path(called).is_absolute()
    where = called if known else place
    if where is None:
        raise RunError(
            f"{name} is made to be shared, so it does not say where its images ({called}) are on "
            f"this machine; name them with --data"
        )
    if where not in list_data() and not Path(where).exists():
        raise RunError(
            f"the images that {name} was trained on are no longer at {where}; name some images "
            f"with --data"
        )
    data = load_data(where, **{k: v for k, v in source.items() if k != "data"})
    if not _same(data, kept):
        raise RunError(
            f"the images in {where} are not those that {name} was trained on: other files, classes "
            f"or splits, so that test images may be ones that it learned from; name some images "
            f"with --data"
        )
    return data


def find_images(kept: Mapping[str, Any], data: str | Path) -> Data | None:
    """Return the data of a training, split as they were then, or None if these are other data.

    Args:
        kept: See :func:`read_images`.
        data: Path or name of the data to compare.
    """
    source = dict(kept.get("source", {}))
    if not source:
        return None
    checked_content(source, DataConfig, "the source of the data of this network")
    try:
        # What is said of their splits is true only if the data are the same.
        with quieted("ddpnas.data", logging.CRITICAL):
            found = load_data(**{**source, "data": data})
    except DataError:
        return None  # not data that a training can read
    return found if _same(found, kept) else None


def _same(data: Data, kept: Mapping[str, Any]) -> bool:
    """Return whether the data are the same; an embedded set always is, even if resized anew."""
    name = data.source["data"]
    if name in list_data() and name == kept["source"]["data"]:
        return True
    return data.fingerprint() == str(kept["fingerprint"])
