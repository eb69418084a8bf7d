"""How much memory is free, how much this process has used at most, and when it is collected."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["free_memory", "peak_memory", "without_collections"]

_GROUP = Path("/sys/fs/cgroup")  # of a container, where memory may be limited


def free_memory() -> int:
    """Return the bytes that can still be used, at most what the limit of a container leaves.

    Example:
        >>> free_memory() > 0
        True
    """
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        cached = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return max(0, min(free, limit - used + int(cached["inactive_file"])))
    except (OSError, ValueError, KeyError):  # no container, or no limit ("max")
        return free


def peak_memory() -> int:
    """Return the most bytes of memory that this process has used so far.

    Example:
        >>> peak_memory() > 1_000_000
        True
    """
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Hold back the search for garbage where all objects stay until the end, so that it finds none.

    Example:
        >>> with without_collections():
        ...     gc.isenabled()
        False
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
