"""Tell an error for want of memory from others, whatever raised it."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]

_SAYINGS = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_out_of_memory(RuntimeError("shapes do not match"))
        False
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(one in said for one in _SAYINGS)
