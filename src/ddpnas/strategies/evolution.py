"""Regularized evolution: the oldest of the population dies.

Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search",
AAAI 2019, arXiv 1802.01548.
"""

from __future__ import annotations

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices

__all__ = ["RegularizedEvolution"]


class RegularizedEvolution(BaseStrategy):
    """Regularized evolution: mutates the best of a random sample of the youngest architectures.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: how many scores it asks for.
        population: how many architectures live at a time; the first ones are random.
        sample: how many of them compete to be the parent, drawn without replacement.
        batch: how many it asks for together, children of one population, which can then be
            evaluated at the same time; the paper has 1 a worker.
    """

    def __init__(
        self,
        space: DecisionSpace,
        seed: int = 0,
        *,
        evaluations: int = 100,
        population: int = 10,
        sample: int = 3,
        batch: int = 1,
    ) -> None:
        super().__init__(space, seed, evaluations)
        if not 1 <= sample <= population:
            raise OptionError(f"sample is between 1 and the population, not {sample}")
        if batch < 1:
            raise OptionError(f"batch is at least 1, not {batch}")
        self.population, self.sample, self.batch = population, sample, batch

    def propose(self) -> list[Indices]:
        """Return random architectures until the population is full, then children."""
        missing = self.population - len(self.history)
        if missing > 0:
            return [self.legal.uniform(self.rng) for _ in range(min(self.batch, missing))]
        return [self._child() for _ in range(self.batch)]

    def _child(self) -> Indices:
        oldest = len(self.history) - self.population
        drawn = self.rng.choice(self.population, self.sample, replace=False) + oldest
        parent = max(drawn.tolist(), key=self.scores.__getitem__)
        return self.legal.mutate(self.history[parent], self.rng)
