"""Arrays of architectures, a row of option indices each, without repetition."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ddpnas.strategies.legal import Choices

__all__ = ["row_codes", "unique_rows"]


def unique_rows(choices: Choices) -> Choices:
    """Return the architectures in lexicographic order, each once."""
    ordered = choices[np.lexsort(choices.T[::-1])]
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new]


def row_codes(choices: Choices, sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return a number for each architecture, which is much faster to sort than its row.

    The number is a sum of one random number for each chosen option. Two different architectures
    have the same number once in 2^64 pairs.

    Args:
        choices: (n, d) option indices.
        sizes: Number of options of each decision.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    return np.asarray(_numbers(sum(sizes))[choices + starts].sum(axis=1))


@functools.cache
def _numbers(options: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(0)  # the order of proposals of equal worth depends on it
    return rng.integers(2**64, size=options, dtype=np.uint64).view(np.int64)
