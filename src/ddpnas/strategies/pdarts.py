"""P-DARTS: DARTS in stages, on deeper networks with fewer options each.

Paper:       Chen et al., "Progressive Differentiable Architecture Search", ICCV 2019,
             arXiv 1904.12760
Relaxation:  softmax
Schedule:    three stages of 25 epochs; weights and logits start anew in each. They have 8, 5 and
             3 options. Networks of the space of DARTS have 5, 11 and 17 cells. The logits
             learn after the first 10 epochs of a stage. Meanwhile the dropout on skip connections
             falls linearly, r (25 - e - 1) / 25 in epoch e; afterwards it is r exp(-0.2 (e - 10)).
Decoding:    as DARTS, with at most two skip connections in the normal cell
Published:   97.25 to 97.41 % on CIFAR-10 with cells of DARTS, four trials by others (the benchmark
             page of XNAS, an old edition). The authors' README has no number, and their paper was
             not at hand; nothing on NAS-Bench-201.
Departures:  the network with the largest sum of probabilities within the limit on skip connections
             is solved for. The authors set the weakest skip connection to 0 and decode again,
             until the limit holds; that iteration is not offered. They clip the gradient of the
             logits at a norm of 5, as that of the weights; here that of the weights alone. The last
             stage ends with three options instead of one, since the limit may need the others; its
             "none" stays. The epochs of dropout scale with the schedule.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace, Rule
from ddpnas.strategies.gradient import GradientStrategy, Rate
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Epochs, Extra, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["PDARTS"]

_TAKEN = (1.0, 5 / 8, 3 / 8)  # part of the options in each stage, at least one option
_WARMUP = 10 / 25  # part of a stage in which only the weights learn
_LEAST = 6  # epochs, so that each stage has one in which the logits learn
_NORMAL, _SKIP = "normal.", "skip_connect"


class PDARTS(GradientStrategy):
    """P-DARTS: DARTS in three stages, on deeper networks with fewer options each.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images, in all three stages together.
        cells: Cells of the network in each stage, for spaces with an option ``cells``.
        skip_dropout: Dropout on skip connections at the start of each stage.
        most_skips: Skip connections that the normal cell may have.
        lr_min: Last learning rate of the weights.
        alpha_lr: Learning rate of the logits.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`, but pruning.

    Raises:
        OptionError: There are so few epochs that the logits would not learn in each stage.

    Example:
        >>> from ddpnas.space import Decision
        >>> strategy = PDARTS(DecisionSpace([Decision("op", ("conv", "skip_connect"))]))
        >>> [epoch for epoch in range(75) if strategy.begins(epoch)]
        [0, 25, 50]
    """

    relaxation = "softmax"
    published_batch = 96

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 75,
        cells: tuple[Count, Count, Count] = (5, 11, 17),
        skip_dropout: tuple[
            Annotated[float, Range(0, below=1)],
            Annotated[float, Range(0, below=1)],
            Annotated[float, Range(0, below=1)],
        ] = (0.1, 0.4, 0.7),
        most_skips: Extra = 2,
        lr_min: Annotated[float, Range(0, 1000)] = 0.0,
        alpha_lr: Rate = 6e-4,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, epochs=epochs, lr_min=lr_min, alpha_lr=alpha_lr, **options)
        if epochs < _LEAST:
            raise OptionError(
                f"pdarts needs {_LEAST} epochs or more, not {epochs}: the logits learn in the last "
                f"part of each of its {len(_TAKEN)} stages, so a stage takes two epochs"
            )
        if self.pruning:
            raise OptionError("pdarts prunes after each of its stages anyway; leave pruning out")
        self.cells, self.skip_dropout, self.most_skips = cells, skip_dropout, most_skips
        self._ends = [epochs * (s + 1) // len(_TAKEN) for s in range(len(_TAKEN))]

    @property
    def stage_ends(self) -> list[int]:
        """Number of epochs after which each of the three stages ends."""
        return self._ends

    def options_left(self, stage: int, options: int) -> int:
        """Return how many options of a decision take part in a stage: 8, 5 and 3 of 8."""
        return max(1, round(_TAKEN[stage] * options))

    def _place(self, epoch: int) -> tuple[int, float]:
        """Return the stage of an epoch, and the part of that stage that is over before it."""
        stage = min(sum(epoch >= end for end in self._ends), len(_TAKEN) - 1)
        start = self._ends[stage - 1] if stage else 0
        return stage, (epoch - start) / (self._ends[stage] - start)

    def begins(self, epoch: int) -> bool:
        """Return whether weights and logits start anew in an epoch, counted from 0."""
        return self._place(epoch)[1] == 0

    def progress(self, epoch: int) -> float:
        """Return the part of the schedule of the weights that is over; each stage has its own."""
        return self._place(epoch)[1]

    def learns(self, epoch: int) -> bool:
        """Return whether the logits learn in an epoch, counted from 0."""
        return self._place(epoch)[1] >= _WARMUP - 1e-9

    def space_options(self, epoch: int) -> dict[str, Any]:
        """Return options of the space in an epoch, for spaces that have them."""
        return {"cells": self.cells[self._place(epoch)[0]]}

    def option_dropout(self, epoch: int) -> dict[str, float]:
        """Return the dropout on the outputs of options in an epoch."""
        stage, progress = self._place(epoch)
        rate, published = self.skip_dropout[stage], 25 * progress
        if not self.learns(epoch):
            return {_SKIP: rate * (25 - published - 1) / 25}
        return {_SKIP: rate * math.exp(-0.2 * (published - 25 * _WARMUP))}

    @property
    def final_rules(self) -> list[Rule]:
        """The limit on skip connections in the normal cell, if the space has one."""
        skips = {
            (d.name, _SKIP): 1.0
            for d in self.space.decisions
            if d.name.startswith(_NORMAL) and _SKIP in d.options
        }
        says = f"the normal cell has at most {self.most_skips} skip connections"
        return [Rule(skips, says=says, upper=float(self.most_skips))] if skips else []

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Keep the likeliest options of every decision where a stage has ended."""
        super().learn(architectures, scores)
        if len(self.history) in self._ends[:-1]:
            stage = self.stage_of(len(self.history))
            self.keep_likeliest(lambda options: self.options_left(stage, options))
