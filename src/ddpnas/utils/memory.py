"""How much memory is free, and how much this process has used at most."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

__all__ = ["free_memory", "peak_memory"]

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
