"""What a command answers is kept in the run folder, too, where that can be written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from ddpnas.disk import writable
from ddpnas.errors import RunError
from ddpnas.run import RunFolder

__all__ = ["keep"]

logger = logging.getLogger(__name__)


def keep(run: str, name: str, record: Mapping[str, Any]) -> bool:
    """Write a JSON file into the run folder, or warn; return whether it is there.

    For after the answer was printed: it was not for the file alone.
    """
    try:
        with (
            contextlib.closing(RunFolder.open(run)) as folder,
            writable(folder.path, "make it writable"),
        ):
            folder.write_json(name, record)
    except RunError as error:
        logger.warning("warning: this answer is not kept in %s: %s", name, error)
        return False
    return True
