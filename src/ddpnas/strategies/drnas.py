"""DrNAS: weights drawn from a Dirichlet distribution whose concentration is learned.

Paper:       Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, arXiv 2006.10355
Relaxation:  dirichlet, with concentration ELU(logit) + 1
Schedule:    100 epochs of batches of 64; as an option in two stages of equal length. In the first
             the options run on a quarter of the channels, in the second the better half of them,
             rounded up, on half of the channels. Weights are widened by copies; logits, the states
             of the optimizers and the schedule are carried over.
Decoding:    the largest concentration
Published:   94.36 +- 0 % on CIFAR-10 in NAS-Bench-201 (the authors' README)
Departures:  a wider convolution repeats its channels in order, where the authors draw them. The
             regularizer is the authors' default, weight decay of the logits
             towards concentration 1; the KL divergence of their option is not offered.
"""

from __future__ import annotations

from typing import Any, Literal

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Epochs, Seed, checks_arguments

__all__ = ["DrNAS"]

_PARTS = 4, 2  # K in each of two stages


class DrNAS(GradientStrategy):
    """DrNAS: weights drawn from a Dirichlet distribution with a learned concentration.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images, in all stages together.
        stages: 1, or 2 for the progressive schedule, which needs a space with an option
            ``channels``.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> from ddpnas.space import Decision
        >>> DrNAS(DecisionSpace([Decision("op", ("conv", "skip"))])).evaluations
        100
    """

    relaxation = "dirichlet"

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 100,
        stages: Literal[1, 2] = 1,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, epochs=epochs, **options)
        if stages == 2 and self.pruning:
            raise OptionError("drnas in two stages prunes between them; leave pruning out")
        if stages > epochs:
            raise OptionError(f"two stages need two epochs or more, not {epochs}")
        self.parts = _PARTS[0] if stages == 2 else 1
        self._second = epochs // 2 if stages == 2 else None  # first epoch of the second stage

    @property
    def stage_ends(self) -> list[int]:
        """Number of epochs after which each stage ends; none without stages."""
        return super().stage_ends if self._second is None else [self._second, self.epochs]

    def options_left(self, stage: int, options: int) -> int:
        """Return how many options of a decision take part in a stage."""
        if self._second is None:
            return super().options_left(stage, options)
        return (options + 1) // 2 if stage else options

    def begins(self, epoch: int) -> bool:
        """Return whether a stage begins in an epoch, counted from 0."""
        return epoch in (0, self._second)

    def carries(self, epoch: int) -> bool:
        """Return whether a stage that begins in an epoch takes weights and logits over."""
        return epoch == self._second

    def channel_parts(self, epoch: int) -> int:
        """Return K in an epoch, of which one part of the channels runs through the options."""
        return self.parts if self._second is None else _PARTS[epoch >= self._second]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Keep the better half of the options after the first stage."""
        super().learn(architectures, scores)
        if len(self.history) == self._second:
            self.keep_likeliest(lambda options: self.options_left(1, options))
