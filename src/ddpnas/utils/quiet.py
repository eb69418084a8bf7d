"""quieted(): less of what a logger says, for a while."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["quieted"]


@contextlib.contextmanager
def quieted(name: str, level: int) -> Iterator[None]:
    """Leave out what a logger says below a level, inside.

    Args:
        name: Name of the logger.
        level: The lowest level that it still tells, such as ``logging.ERROR``.

    Example:
        >>> with quieted("ddpnas.data", logging.WARNING):
        ...     logging.getLogger("ddpnas.data").isEnabledFor(logging.INFO)
        False
    """
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
