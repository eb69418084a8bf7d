"""DrNAS: weights drawn from a Dirichlet distribution whose concentration is learned.

Paper:       Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, arXiv 2006.10355
Relaxation:  dirichlet, with concentration ELU(logit) + 1
Schedule:    100 epochs of batches of 64, without the progressive stages
Decoding:    the largest concentration
Published:   94.36 +- 0 % on CIFAR-10 in NAS-Bench-201 (the authors' README)
Departures:  the regularizer is the authors' default, weight decay of the logits towards
             concentration 1; the KL divergence of their option is not offered
"""

from __future__ import annotations

from typing import Any

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.utils.settings import Epochs, Seed, checks_arguments

__all__ = ["DrNAS"]


class DrNAS(GradientStrategy):
    """DrNAS: weights drawn from a Dirichlet distribution with a learned concentration.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> from ddpnas.space import Decision
        >>> DrNAS(DecisionSpace([Decision("op", ("conv", "skip"))])).evaluations
        100
    """

    relaxation = "dirichlet"

    @checks_arguments
    def __init__(
        self, space: DecisionSpace, seed: Seed = 0, *, epochs: Epochs = 100, **options: Any
    ) -> None:
        super().__init__(space, seed, epochs=epochs, **options)
