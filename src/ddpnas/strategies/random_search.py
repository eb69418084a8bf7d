"""Random search: the baseline that every strategy has to beat."""

from __future__ import annotations

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments

__all__ = ["RandomSearch"]


class RandomSearch(BaseStrategy):
    """Random search: architectures drawn uniformly, independently of each other.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Number of scores to ask for.
        batch: Number of architectures to ask for together, so that they can be evaluated at the
            same time.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = RandomSearch(space, evaluations=6)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> len(strategy.history)
        6
    """

    @checks_arguments
    def __init__(
        self, space: DecisionSpace, seed: Seed = 0, *, evaluations: Count = 100, batch: Count = 1
    ) -> None:
        super().__init__(space, seed, evaluations)
        self.batch = batch

    def propose(self) -> list[Indices]:
        """Return a batch of uniformly drawn architectures."""
        return [self.legal.uniform(self.rng) for _ in range(self.batch)]
