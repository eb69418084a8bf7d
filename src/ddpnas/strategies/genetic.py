"""Evolution with crossover and mutation, within limits.

Paper:      Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
            ECCV 2020, arXiv 1904.00420, which Once-for-All and others took over
Schedule:   20 generations of 50; half of each are crossovers and half are mutants of the 10 best
            so far; a mutant draws each decision anew with probability 0.1. Nothing is scored
            twice, and what is outside the limits is drawn again.
            These numbers are from secondary sources.
Departures: networks that are the same, such as those that differ behind a cut connection, count as
            one. Where draws keep missing the limits, the solver finds a network within them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any

import numpy as np

from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import checked_limits, within
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies._counted import counted_costs
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range, Share

__all__ = ["Genetic"]

_DRAWS = 2_000  # random architectures, before the solver is asked for one within the limits
_TRIES = 50  # children, and then random architectures, until one was not scored yet


class Genetic(BaseStrategy):
    """Evolution as in Single Path One-Shot: crossovers and mutants of the best, within limits.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Number of scores to ask for.
        population: Number of architectures in a generation. Those of the first are random.
        parents: Number of architectures, the best so far, that have children.
        crossover: Share of a generation that takes each decision from either of two parents; the
            others are mutants.
        mutation: Probability that a mutant draws a decision anew.
        limits: Limits on counted costs that everything scored is within, such as
            {"macs": "20M"}, as :func:`ddpnas.generate` takes them.

    Raises:
        OptionError: Limits on a cost that the space does not count.

    Example:
        >>> from ddpnas.space import Decision
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = Genetic(space, evaluations=8, population=4, parents=2)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> strategy.architecture["block1"], len(set(strategy.history))
        ('conv', 8)
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count = 1000,
        population: Count = 50,
        parents: Count = 10,
        crossover: Share = 0.5,
        mutation: Annotated[float, Range(above=0, most=1)] = 0.1,
        limits: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(space, seed, evaluations)
        self.population, self.parents = population, parents
        self.crossover, self.mutation = crossover, mutation
        self._tables = counted_costs(space) if limits else {}
        self._limits = checked_limits(limits or {}, self._tables)

    def propose(self) -> list[Indices]:
        """Return a generation: random architectures at first, then children of the best."""
        if not self.history:
            return self._generation([(self._random, self.population)])
        order = self.ranked(range(len(self.scores)))
        best = list(dict.fromkeys(self.history[i] for i in order))[: self.parents]
        crossed = round(self.crossover * self.population)
        return self._generation(
            [
                (lambda: self._cross(best), crossed),
                (lambda: self._mutate(best), self.population - crossed),
            ]
        )

    def _generation(self, makers: Sequence[tuple[Callable[[], Indices], int]]) -> list[Indices]:
        """Return as many architectures of each maker, none scored before if there are so many."""
        found: list[Indices] = []
        seen = set(self.history)
        left = True  # something that was not scored yet
        for make, n in makers:
            for _ in range(n):
                child = self._new(make, seen) if left else None
                left = child is not None
                found.append(self._random() if child is None else child)
                seen.add(found[-1])
        return found

    def _new(self, make: Callable[[], Indices], seen: AbstractSet[Indices]) -> Indices | None:
        """Return a child within the limits, or a random architecture, that was not seen."""
        for maker in (make, self._random):
            for _ in range(_TRIES):
                child = self._canonical(maker())
                if child not in seen and self._allows(child):
                    return child
        return None

    def _cross(self, best: Sequence[Indices]) -> Indices:
        """Return a child that has each decision from either of two parents."""
        one, other = (best[int(self.rng.integers(len(best)))] for _ in range(2))
        return tuple(
            b if coin else a for a, b, coin in zip(one, other, self._coins(0.5), strict=True)
        )

    def _mutate(self, best: Sequence[Indices]) -> Indices:
        """Return a parent with some decisions drawn anew."""
        parent = best[int(self.rng.integers(len(best)))]
        return tuple(
            int(self.rng.integers(size)) if anew else option
            for option, size, anew in zip(
                parent, self._sizes, self._coins(self.mutation), strict=True
            )
        )

    def _coins(self, probability: float) -> Sequence[np.bool_]:
        """Return whether a coin shows heads, for each decision."""
        return list(self.rng.random(len(self._sizes)) < probability)

    def _random(self) -> Indices:
        """Return a random architecture within the limits."""
        for _ in range(_DRAWS):
            drawn = self._canonical(self.legal.uniform(self.rng))
            if self._allows(drawn):
                return drawn
        found = sample_within(self.space, self._limits, self._tables, self.rng, tries=0, margin=0.0)
        return self.space.encode(found)

    def _canonical(self, indices: Indices) -> Indices:
        return self.space.encode(self.space.canonical(self.space.decode(indices)))

    def _allows(self, indices: Indices) -> bool:
        """Return whether an architecture obeys the rules and is within the limits."""
        return self.legal.allows(indices) and within(
            self.space.decode(indices), self._limits, self._tables
        )
