"""DropNAS: weights and logits learn together from training images, and options drop out.

Paper:       Hong et al., "DropNAS: Grouped Operation Dropout for Differentiable Architecture
             Search", IJCAI 2020, arXiv 2201.11679
Relaxation:  softmax over the options that are kept. An option of a group of n is left out of a
             run with probability r ** (1 / n), and a group never is. Convolutions are one group,
             all others another. Options that were left out keep their probability.
Schedule:    76 epochs of batches of 96 on all training images, one loss for weights and logits
Decoding:    as DARTS, by the softmax over all options
Published:   97.42 +- 0.14 % on CIFAR-10 with cells of DARTS (the authors' README); nothing on
             NAS-Bench-201
Departures:  weight decay is that of the optimizers, for what took part in a step, instead of a
             second backward pass for what had a gradient. The validation split trains nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy, Rate
from ddpnas.utils.settings import Epochs, Norm, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["DropNAS"]


class DropNAS(GradientStrategy):
    """DropNAS: weights and logits learn from one loss, while groups of options drop out.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images.
        drop_rate: r, from which the probability follows with which an option is left out.
        lr: First learning rate of the weights.
        lr_min: Last learning rate of the weights.
        clip: Largest norm of the gradient of the weights; 0 does not clip.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> from ddpnas.space import Decision
        >>> DropNAS(DecisionSpace([Decision("op", ("conv", "skip"))])).drop_rate
        3e-05
    """

    relaxation = "softmax"
    published_batch = 96
    joint = True

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 76,
        drop_rate: Annotated[float, Range(0, below=0.5)] = 3e-5,
        lr: Rate = 0.0375,
        lr_min: Rate = 0.0015,
        clip: Norm = 3.0,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, epochs=epochs, lr=lr, lr_min=lr_min, clip=clip, **options)
        self.drop_rate = drop_rate
