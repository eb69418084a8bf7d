"""MdeNAS: multinomial distribution learning by comparing epochs and accuracies of options.

Zheng et al., "Multinomial Distribution Learning for Effective Neural Architecture Search",
ICCV 2019, arXiv 1905.07529. Of two options of a decision, one that was trained less often or
equally often and yet scored higher takes probability from the other. An option's score is its
mean here; the authors' code keeps the last one.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.learned import Learned, Matrix
from ddpnas.strategies.legal import Choices
from ddpnas.utils.settings import Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["MdeNAS"]


class MdeNAS(Learned):
    """MdeNAS: moves probability between two options at a time, by their accuracies and counts.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        lr: Probability that moves for each pair of options.
        **options: Options of :class:`Learned`: evaluations, batch, pruning, cycles_per_stage.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = MdeNAS(space, pruning=True)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> len(strategy.history), strategy.architecture["block1"]
        (15, 'conv')
    """

    _memory = ("_count", "_mean")

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        lr: Annotated[float, Range(above=0, most=1)] = 0.02,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, **options)
        self.lr = lr
        self._count = np.zeros(self._theta.shape)
        self._mean = np.zeros(self._theta.shape)  # of the scores in which the option took part

    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors, see :meth:`Learned.update`."""
        at = np.arange(len(p))
        for indices, score in zip(choices, scores, strict=True):
            self._count[at, indices] += 1
            gap = score - self._mean[at, indices]
            self._mean[at, indices] += gap / self._count[at, indices]
        known = self._alive & (self._count > 0)
        fewer = self._count[:, :, None] <= self._count[:, None, :]
        higher = self._mean[:, :, None] > self._mean[:, None, :]
        wins = fewer & higher & known[:, :, None] & known[:, None, :]
        moved = np.maximum(p + self.lr * (wins.sum(axis=2) - wins.sum(axis=1)), 1e-3 * self._alive)
        return np.asarray(moved / moved.sum(axis=1, keepdims=True))
