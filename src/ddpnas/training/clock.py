"""Clock: what a training has taken, and how many epochs fit into what it may take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

__all__ = ["Clock"]

_LATE = 0.25  # of the time left: the end is near


class Clock:
    """What a training has taken, over all of its sessions, and how many epochs fit.

    Args:
        seconds: What the training may take; None for any time.
        shortened: Epoch -> number of epochs from then on, instead of ``seconds``; 0 where the
            training started again.

    Attributes:
        earlier: Seconds of the sessions before this one.

    Example:
        >>> clock = Clock(shortened={3: 5})
        >>> clock.fitting([{"epoch": 1}] * 3, 8, lambda epoch: 1.0)
        5
        >>> clock.fitting([{"epoch": 1}] * 4, 5, lambda epoch: 1.0)
        5
    """

    def __init__(
        self, seconds: float | None = None, shortened: Mapping[int, int] | None = None
    ) -> None:
        self.earlier = 0.0
        self._seconds, self._shortened = seconds, shortened
        self.start()

    def start(self) -> None:
        """Begin this session now."""
        self._begun = time.perf_counter()
        self._looks = [self._begun]

    def restart(self) -> None:
        """Begin the epochs again; what the earlier ones took still counts."""
        self._looks = [time.perf_counter()]

    @property
    def starts_again(self) -> bool:
        """Whether the training that this one repeats started again, by ``shortened``."""
        return self._shortened is not None and 0 in self._shortened

    @property
    def spent(self) -> float:
        """Seconds so far, those before an interruption and of a failed attempt included."""
        return self.earlier + time.perf_counter() - self._begun

    @property
    def decides(self) -> bool:
        """Whether anything but the plan says how many epochs there are."""
        return self._shortened is not None or self._seconds is not None

    def fitting(
        self,
        history: Sequence[Mapping[str, float]],
        planned: int,
        share: Callable[[int], float],
    ) -> int:
        """Return how many epochs there will be in all; ask after each epoch.

        Epochs that a busy moment or a slow start seemed to cost come back.

        Args:
            history: The records of the epochs so far.
            planned: Number of epochs planned by now.
            share: Epoch, from 0 -> share of the images that it reads.
        """
        done = len(history)
        if self._shortened is not None:
            return self._shortened.get(done, planned)
        if self._seconds is None:
            return planned
        now = time.perf_counter()
        left = self._seconds - self.earlier - (now - self._begun)
        # A whole epoch with its checkpoint and what is told of it, from one look to the next.
        self._looks.append(now)
        walls = [b - a for a, b in pairwise(self._looks)]
        shares = [record.get("share", 1.0) for record in history[-len(walls) :]]
        late = left <= _LATE * self._seconds
        whole = _typical([w / s for w, s in zip(walls, shares, strict=True)], late)
        each = whole * statistics.fmean(map(share, range(done, planned)))
        return done + max(0, int(left / each))


def _typical(seconds: Sequence[float], late: bool) -> float:
    """Return the seconds that an epoch will take.

    A machine that is busy for a while must not let the learning rate fall early on: the faster
    epochs count until the end is near, then the latest ones.

    Args:
        seconds: What the epochs so far took.
        late: Whether the end is near.
    """
    return statistics.median(seconds[-3:]) if late else float(np.quantile(seconds, 0.25))
