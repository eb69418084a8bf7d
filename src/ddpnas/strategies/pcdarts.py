"""PC-DARTS: the options run on a part of the channels, and edges have weights.

Paper:       Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture
             Search", ICLR 2020, arXiv 1907.05737
Relaxation:  softmax, times a softmax over the edges into a node
Schedule:    50 epochs of batches of 256, the learning rate from 0.1 to 0; the logits learn after
             the first 30 percent
Decoding:    as DARTS, by the product of the weights of option and edge
Published:   93.41 +- 0.30 % on CIFAR-10 in NAS-Bench-201 (the table in the README of DrNAS)
Departures:  edges have weights where a rule of the space joins the edges into a node, as in the
             space of DARTS. A score is that of a path on a part of the channels, too. There,
             nothing is pruned: the weight of an edge moves probability to "none", so "none" has to
             survive.
"""

from __future__ import annotations

from typing import Annotated, Any

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy, Rate
from ddpnas.utils.settings import Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["PCDARTS"]


class PCDARTS(GradientStrategy):
    """PC-DARTS: DARTS on a part of the channels, with weights of edges.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        parts: K; the options run on the first of K parts of the channels.
        warmup: Part of the epochs in which only the weights learn.
        lr: First learning rate of the weights.
        lr_min: Last learning rate of the weights.
        alpha_lr: Learning rate of the logits.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Raises:
        OptionError: Options would be pruned in a space whose edges have weights.

    Example:
        >>> from ddpnas.space import Decision
        >>> strategy = PCDARTS(DecisionSpace([Decision("op", ("conv", "skip"))]))
        >>> [strategy.learns(epoch) for epoch in (14, 15)]
        [False, True]
    """

    relaxation = "softmax"
    published_batch = 256

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        parts: Annotated[int, Range(2, 64)] = 4,
        warmup: Annotated[float, Range(0, below=1)] = 0.3,
        lr: Rate = 0.1,
        lr_min: Annotated[float, Range(0, 1000)] = 0.0,
        alpha_lr: Rate = 6e-4,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, lr=lr, lr_min=lr_min, alpha_lr=alpha_lr, **options)
        self.parts, self.warmup = parts, warmup
        joined = (dict.fromkeys(decision for decision, _ in rule.weights) for rule in space.rules)
        self.nodes = [
            names for names in map(tuple, joined) if all("none" in space[n].options for n in names)
        ]
        if self.nodes and (self.pruning or self.layers):
            raise OptionError(
                'pcdarts compares the edges into a node by what they leave to "none", which '
                "pruning could remove; leave pruning and layers out in this space"
            )
