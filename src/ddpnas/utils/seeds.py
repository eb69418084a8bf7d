"""Seeds of random numbers: for all generators of a process at once, and for parts of a run."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np

__all__ = ["derive_seed", "seeded"]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python inside; restore their states after.

    Args:
        seed: Seed; NumPy's generator takes it modulo 2**32.

    Example:
        >>> def draw():
        ...     with seeded(0):
        ...         return random.random()
        >>> draw() == draw()
        True
    """
    import torch  # the rest of this room needs none

    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def derive_seed(*parts: int) -> int:
    """Return a seed for one part of a run, such as ``derive_seed(seed, epoch)``.

    Other numbers give another, unrelated seed; sums such as ``seed + epoch`` would give one part
    of a run the seed of another part of the next run. Zeros at the end do not count:
    ``derive_seed(5, 0)`` is ``derive_seed(5)``. Where both lengths occur, count from 1.

    Args:
        parts: Numbers from 0 that name the part, the seed of the run first.

    Example:
        >>> derive_seed(0, 1), derive_seed(1, 0)
        (3964924996, 1835504127)
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
