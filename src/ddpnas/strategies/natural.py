"""SNG, ASNG and MIGO: stochastic natural gradients on theta.

* SNG: Akimoto, Shirakawa, et al., "Adaptive Stochastic Natural Gradient Method for One-Shot
  Neural Architecture Search", ICML 2019, arXiv 1905.08537, with its step size fixed.
* ASNG: the same paper, the step size adapted to the signal-to-noise ratio of the gradient.
* MIGO: Zheng et al., "MIGO-NAS", TPAMI 2021: SNG with momentum and a logarithmic utility of ranks.
"""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any

import numpy as np

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.learned import Learned, Matrix, one_hot, rank_utilities
from ddpnas.strategies.legal import Choices
from ddpnas.utils.settings import Momentum, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["ASNG", "MIGO", "SNG"]

Batch = Annotated[int, Range(2, 1_000_000)]  # ranks need two scores


class SNG(Learned):
    """SNG: steps of fixed length along the natural gradient of the expected utility.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        batch: lambda, architectures drawn from theta for one update.
        delta: Length of a step in the Fisher metric, in units of 1 / sqrt(free parameters).
        **options: Options of :class:`Learned`: evaluations, pruning, cycles_per_stage.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = SNG(space, evaluations=40)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> bool(strategy.distribution.theta["block1"][0] > 0.5)
        True
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        batch: Batch = 2,
        delta: Annotated[float, Range(above=0, most=1000)] = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, batch=batch, **options)
        self.delta = delta
        self._free = max(1, sum(self._sizes) - len(self._sizes))

    def _gradient(self, p: Matrix, choices: Choices, utilities: Matrix) -> tuple[Matrix, float]:
        """Return the natural gradient and its Fisher norm, sqrt(sum of g^2 / p)."""
        chosen = one_hot(choices, p.shape[1])
        gradient = np.tensordot(utilities, chosen - p, axes=1) / len(utilities)
        norm = math.sqrt(float((gradient**2 / np.where(p > 0, p, 1.0)).sum()))
        return gradient, norm

    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors, see :meth:`Learned.update`."""
        gradient, norm = self._gradient(p, choices, rank_utilities(scores))
        if norm == 0:
            return p
        return self._floored(p + self.delta / math.sqrt(self._free) * gradient / norm)


class ASNG(SNG):
    """Adaptive SNG: steps grow while successive gradients agree and shrink where they do not.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        alpha: Signal-to-noise ratio at which the step keeps its length.
        delta_max: Largest number by which the step is divided.
        **options: Options of :class:`SNG`; ``delta`` is the length of the first step.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = ASNG(space, evaluations=40)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> bool(strategy.distribution.theta["block1"][0] > 0.5)
        True
    """

    _memory = ("_path", "_gamma", "_divisor")

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        alpha: Annotated[float, Range(1e-6, 1_000_000)] = 1.5,
        delta_max: Annotated[float, Range(1, 1_000_000)] = 10.0,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, **options)
        self.alpha, self.delta_max = alpha, delta_max
        self._path: Matrix = np.zeros(self._theta.shape)
        self._gamma, self._divisor = 0.0, 1.0

    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors, see :meth:`Learned.update`."""
        gradient, norm = self._gradient(p, choices, rank_utilities(scores))
        if norm == 0:
            return p
        delta = self.delta / self._divisor
        beta = min(1.0, delta / math.sqrt(self._free))
        moved = self._floored(p + beta * gradient / norm)
        whitened = gradient / np.sqrt(np.where(p > 0, p, 1.0)) / norm
        self._path = (1 - beta) * self._path + math.sqrt(beta * (2 - beta)) * whitened
        self._gamma = (1 - beta) ** 2 * self._gamma + beta * (2 - beta)
        signal = float((self._path**2).sum()) / self.alpha
        grown = self._divisor * math.exp(beta * (self._gamma - signal))
        self._divisor = min(self.delta_max, max(grown, sys.float_info.min))
        return moved


class MIGO(SNG):
    """MIGO: SNG with momentum on the step and a utility that is logarithmic in the rank.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        batch: lambda, architectures drawn from theta for one update.
        momentum: Share of the last step in the next.
        **options: Options of :class:`SNG`; ``delta`` is the length of a step before momentum.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = MIGO(space, evaluations=40)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> bool(strategy.distribution.theta["block1"][0] > 0.5)
        True
    """

    _memory = ("_velocity",)

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        batch: Batch = 4,
        momentum: Momentum = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, batch=batch, **options)
        self.momentum = momentum
        self._velocity: Matrix = np.zeros(self._theta.shape)

    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors, see :meth:`Learned.update`."""
        gradient, norm = self._gradient(p, choices, log_rank_utilities(scores))
        if norm == 0:
            return p
        step = self.delta / math.sqrt(self._free) * gradient / norm
        self._velocity = self.momentum * self._velocity + (1 - self.momentum) * step
        return self._floored(p + self._velocity)


def log_rank_utilities(scores: Matrix) -> Matrix:
    """Return clip(0.4 log((1 + x) / (1 - x)), -1, 1) of x = 1.5 (rank - mean rank) / n."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    x = np.clip(1.5 * (ranks - ranks.mean()) / len(scores), -0.99, 0.99)
    return np.asarray(np.clip(0.4 * np.log((1 + x) / (1 - x)), -1.0, 1.0))
