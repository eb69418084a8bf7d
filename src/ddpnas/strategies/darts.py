"""DARTS: the options of every decision run together, weighted by a softmax of their logits.

Paper:       Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
             arXiv 1806.09055
Relaxation:  softmax
Schedule:    50 epochs of batches of 64; in each step the logits learn from a validation batch,
             then the weights from a training batch
Decoding:    the most likely option; see :attr:`GradientStrategy.architecture` for cells
Published:   54.30 % on CIFAR-10 in NAS-Bench-201, a cell of skip connections (first order, the
             table in the README of DrNAS; 15.61 % for the second order on CIFAR-100 in that of
             RMI-NAS). Other editions of these numbers differ.
Departures:  the logits learn from the validation split of the data, which may be smaller than the
             half of the training images that the authors take. Norms use the statistics of the
             batch and no cutout is applied.
"""

from __future__ import annotations

from typing import Any, Literal

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.utils.settings import Seed, checks_arguments

__all__ = ["DARTS"]


class DARTS(GradientStrategy):
    """DARTS: a softmax mixture of all options, whose logits follow the validation loss.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        order: 1, or 2 for the gradient through one step of the weights, at three times the cost.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=100)
        >>> options = {"epochs": 2, "batch_size": 50}
        >>> found = ddpnas.search("toy", data, "darts", strategy_options=options, device="cpu")
        >>> len(found.history)
        2
    """

    relaxation = "softmax"

    @checks_arguments
    def __init__(
        self, space: DecisionSpace, seed: Seed = 0, *, order: Literal[1, 2] = 1, **options: Any
    ) -> None:
        super().__init__(space, seed, **options)
        self.order = order
