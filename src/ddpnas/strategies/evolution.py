"""Regularized evolution: the oldest of the population dies.

Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search",
AAAI 2019, arXiv 1802.01548.
"""

from __future__ import annotations

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments

__all__ = ["RegularizedEvolution"]


class RegularizedEvolution(BaseStrategy):
    """Regularized evolution: mutates the best of a random sample of the youngest architectures.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Number of scores to ask for.
        population: Number of architectures that live at a time. The first ones are random.
        sample: Number of them that compete to be the parent, drawn without replacement.
        batch: Number of children of one population to ask for together, so that they can be
            evaluated at the same time. The paper has one for each worker.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = RegularizedEvolution(space, evaluations=30)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> strategy.architecture["block1"]
        'conv'
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count = 100,
        population: Count = 10,
        sample: Count = 3,
        batch: Count = 1,
    ) -> None:
        super().__init__(space, seed, evaluations)
        if sample > population:
            raise OptionError(
                f"sample of RegularizedEvolution() must be at most the population, {population}, "
                f"not {sample}"
            )
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
        parent = self.ranked(drawn.tolist())[0]
        return self.legal.mutate(self.history[parent], self.rng)
