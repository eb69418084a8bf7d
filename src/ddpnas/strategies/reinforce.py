"""REINFORCE: the policy gradient on the logits of theta, with a moving-average baseline.

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", Machine Learning 8, 1992. NAS-Bench-201 uses Adam; here plain gradient steps with the
advantage divided by its running spread, so that the unit of the score does not matter.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.learned import Learned, Matrix, one_hot
from ddpnas.strategies.legal import Choices
from ddpnas.utils.settings import Momentum, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["Reinforce"]


class Reinforce(Learned):
    """REINFORCE: moves the logits of theta along advantage x gradient of the log-likelihood.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        lr: Step size on the logits.
        baseline: Share of the old value in the moving average of scores.
        **options: Options of :class:`Learned`: evaluations, batch, pruning, cycles_per_stage.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = Reinforce(space, evaluations=60)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> bool(strategy.distribution.theta["block1"][0] > 0.5)
        True
    """

    _memory = ("_mean", "_spread")

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        lr: Annotated[float, Range(above=0, most=100)] = 0.3,
        baseline: Momentum = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, **options)
        self.lr, self.baseline = lr, baseline
        self._mean, self._spread = float("nan"), 0.0

    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors, see :meth:`Learned.update`."""
        if np.isnan(self._mean):
            self._mean = float(scores.mean())
        gap = scores - self._mean
        weight = 1 - self.baseline
        self._mean += weight * float(gap.mean())
        self._spread += weight * (float(np.abs(gap).mean()) - self._spread)
        if self._spread == 0:
            return p
        advantage = np.clip(gap / self._spread, -3.0, 3.0)
        chosen = one_hot(choices, p.shape[1])
        gradient = np.tensordot(advantage, chosen - p, axes=1) / len(scores)
        moved = p * np.exp(self.lr * gradient)
        return np.asarray(moved / moved.sum(axis=1, keepdims=True))
