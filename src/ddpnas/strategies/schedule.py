"""PruningSchedule: when the options of a decision are pruned, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ddpnas.utils.shapes import Range

__all__ = ["Cycles", "PruningSchedule"]

Cycles = Annotated[int, Range(1, 10_000)]
"""T, the cycles of a stage."""


@dataclass(frozen=True)
class PruningSchedule:
    """T cycles, then one option of every decision is pruned, until ``keep`` survive.

    A cycle with k survivors scores k architectures. Pruning K options down to one costs
    T (K (K + 1) / 2 - 1) scores, whatever the number of decisions.

    Attributes:
        keep: Survivors of each decision at which pruning stops.
        cycles: T, cycles in a stage.

    Example:
        >>> PruningSchedule(keep=1, cycles=3).scores_left(5)
        42
        >>> PruningSchedule(keep=1, cycles=3).scores_left(5, told=2)
        32
    """

    keep: int
    cycles: int

    def scores_left(self, survivors: int, told: int = 0, after: int | None = None) -> int:
        """Return the number of scores until pruning stops; 0 where it has stopped.

        Args:
            survivors: The largest number of survivors of a decision, k.
            told: Cycles of this stage that are already scored.
            after: The same number after this stage, where it is not k - 1.
        """
        if survivors <= self.keep:
            return 0
        after = survivors - 1 if after is None else after
        later = sum(range(self.keep + 1, after + 1))
        return (self.cycles - told) * survivors + self.cycles * later
