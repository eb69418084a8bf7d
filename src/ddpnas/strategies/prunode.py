"""Prunode: a width is found by comparing two of its values, whatever the number of values.

In the manner of Tiered Pruning (Kierat et al., arXiv 2209.11785). Known from its abstract: a
stochastic block of two paths finds inner hidden sizes at constant memory and computation. How the
two move is not known. Ours: they stand at the thirds of a bracket. If the reward first rises and
then falls with the width, the better one says on which side of the other the best width is.

Notation.  a, b   ends of the bracket, indices of values: what is still possible
           lo, hi the two that are compared:  lo = a + (b - a) // 3,  hi = b - (b - a) // 3
           p      mean probability of hi since the last move

    p > 0.5 + 0.01   a = lo + 1          p < 0.5 - 0.01   b = hi - 1
    else             a, b = lo, hi       the best is between two of equal reward

So about log(n) / log(1.5) comparisons leave one of n values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bracket"]

_EQUAL = 0.01  # how far from one half a probability has to be


class Bracket:
    """The values of one width that are still possible, and the two that are compared.

    Args:
        size: n, number of values, in rising order.

    Attributes:
        low: a.
        high: b.

    Example:
        >>> bracket = Bracket(64)
        >>> while not bracket.done:
        ...     lo, hi = bracket.pair
        ...     bracket.learn(0.9 if abs(hi - 20) < abs(lo - 20) else 0.1)
        ...     bracket.move()
        >>> bracket.pair
        (20, 20)
    """

    def __init__(self, size: int) -> None:
        self.size, self.low, self.high = size, 0, size - 1
        self._learned: list[float] = []  # since the last move

    @staticmethod
    def moves(size: int) -> int:
        """Return how many moves leave one value at most, if rewards differ."""
        return math.ceil(math.log(size) / math.log(1.5))

    @property
    def pair(self) -> tuple[int, int]:
        """The two that are compared; the same twice when one is left."""
        third = (self.high - self.low) // 3
        return self.low + third, self.high - third

    @property
    def done(self) -> bool:
        """Whether one value is left."""
        return self.low == self.high

    def learn(self, probability: float) -> None:
        """Take in the probability of the wider one of the two."""
        self._learned.append(float(probability))

    @property
    def _p(self) -> float:
        return sum(self._learned) / len(self._learned) if self._learned else 0.5

    def move(self) -> None:
        """Narrow the bracket by what was learned since the last move."""
        lo, hi = self.pair
        p, self._learned = self._p, []
        if self.done:
            return
        if p > 0.5 + _EQUAL:
            self.low = lo + 1
        elif p < 0.5 - _EQUAL:
            self.high = hi - 1
        elif (lo, hi) != (self.low, self.high):
            self.low, self.high = lo, hi
        elif hi - lo == 2:
            self.low = self.high = lo + 1
        elif p > 0.5:
            self.low = hi
        else:
            self.high = lo

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Whether each value is still possible, (n,)."""
        at = np.arange(self.size)
        return (at >= self.low) & (at <= self.high)

    @property
    def row(self) -> npt.NDArray[np.float64]:
        """A probability for each value, (n,), by which limits can trade widths.

        Between the two that are compared it changes evenly, and outside of the bracket it halves
        from value to value. That is ours.
        """
        at = np.arange(self.size)
        lo, hi = self.pair
        inside = np.interp(at, [lo, hi], [1 - self._p, self._p]) if lo < hi else np.ones(self.size)
        outside = np.maximum(self.low - at, 0) + np.maximum(at - self.high, 0)
        weights = inside * 0.5**outside
        return np.asarray(weights / weights.sum())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data for JSON."""
        return {"low": self.low, "high": self.high, "learned": self._learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.low, self.high = state["low"], state["high"]
        self._learned = list(state["learned"])
