"""When a command began: with its process, or with the call of ``main``."""

from __future__ import annotations

import time

import psutil

__all__ = ["begin", "seconds_since"]

_begun = time.time()


def begin(*, with_process: bool) -> None:
    """Note that a command begins.

    Args:
        with_process: Whether the process is there for this command, so that loading counts.
    """
    global _begun
    _begun = psutil.Process().create_time() if with_process else time.time()


def seconds_since() -> float:
    """Return the seconds since the command began."""
    return time.time() - _begun
