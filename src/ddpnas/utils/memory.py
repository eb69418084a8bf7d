"""How much memory is free, how much this process has used at most, and when it is collected."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["free_memory", "peak_memory", "without_collections"]

_GROUPS = Path("/sys/fs/cgroup")  # where Linux limits the memory of containers and services
_OWN_GROUPS = Path("/proc/self/cgroup")
_FILES = {  # of a group, by the version: limit, usage, and the line of what can be given back
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory() -> int:
    """Return the bytes that can still be used, at most what the limits of a container leave.

    Example:
        >>> free_memory() > 0
        True
    """
    return max(0, min([int(psutil.virtual_memory().available), *_left_by_limits()]))


def _left_by_limits() -> Iterator[int]:
    """Yield what is left of each limit of the groups that this process is in, and those above."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            version, root = 2, _GROUPS
        elif "memory" in controllers.split(","):
            version, root = 1, _GROUPS / "memory"
        else:
            continue
        # Inside a container the place may be one outside, which is not there; its own is the root.
        group = root / place.lstrip("/")
        for one in (group, *group.parents):
            if one.is_relative_to(root):
                with contextlib.suppress(OSError, ValueError, KeyError):  # no limit is "max"
                    yield _left(one, *_FILES[version])


def _left(group: Path, limit: str, usage: str, cache: str) -> int:
    """Return what is left of the limit of a group."""
    cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    most, used = (int((group / name).read_text()) for name in (limit, usage))
    return most - used + int(cached[cache])


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
