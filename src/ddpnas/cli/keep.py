"""What a command answers is kept in the run folder, too, where that can be written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.errors import RunError
from ddpnas.runs.folder import RunFolder
from ddpnas.utils.files import read_json, writable

__all__ = ["keep", "keep_place"]

logger = logging.getLogger(__name__)


def keep(run: str, name: str, record: Mapping[str, Any]) -> bool:
    """Write a JSON file into the run folder, or warn; return whether it is there.

    For after the answer was printed: it was not for the file alone.
    """
    try:
        with _opened(run) as folder:
            folder.write_json(name, record)
    except RunError as error:
        logger.warning("warning: this answer is not kept in %s: %s", name, error)
        return False
    return True


def keep_place(run: str, data: Data) -> None:
    """Write into the run folder where its images are now, or warn; nothing for other images."""
    identity = read_json(Path(run) / "run.json")["identity"]
    if not data.source or data.fingerprint() != identity["data"]["fingerprint"]:
        return
    try:
        with _opened(run) as folder:
            folder.note_images(data.source["data"])
    except RunError as error:
        logger.warning("warning: where the images are now is not kept: %s", error)


@contextlib.contextmanager
def _opened(run: str) -> Iterator[RunFolder]:
    with (
        contextlib.closing(RunFolder.open(run)) as folder,
        writable(folder.path, "make it writable"),
    ):
        yield folder
