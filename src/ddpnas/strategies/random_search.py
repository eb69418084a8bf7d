"""Random search: the baseline that every strategy has to beat."""

from __future__ import annotations

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices

__all__ = ["RandomSearch"]


class RandomSearch(BaseStrategy):
    """Random search: architectures drawn uniformly, independently of each other.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: how many scores it asks for.
        batch: how many it asks for together, which can then be evaluated at the same time.
    """

    def __init__(
        self, space: DecisionSpace, seed: int = 0, *, evaluations: int = 100, batch: int = 1
    ) -> None:
        super().__init__(space, seed, evaluations)
        if batch < 1:
            raise OptionError(f"batch is at least 1, not {batch}")
        self.batch = batch

    def propose(self) -> list[Indices]:
        """Return a batch of uniformly drawn architectures."""
        return [self.legal.uniform(self.rng) for _ in range(self.batch)]
