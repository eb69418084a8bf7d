"""Architectures that may be sampled in a search: they obey the rules that are not ``final``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ddpnas.errors import InfeasibleError
from ddpnas.generation.best import generate
from ddpnas.space.decisions import DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution

__all__ = ["Indices", "LegalSampler"]

Indices = tuple[int, ...]
Matrix = npt.NDArray[np.float64]

_TRIES = 200  # random draws before the solver is asked


class LegalSampler:
    """Draws architectures of a space that obey its rules for searching.

    Where random draws keep breaking the rules, the optimum of a random objective is taken:
    always legal, though no longer drawn exactly from the distribution asked for.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self.space = space
        self.rules = tuple(rule for rule in space.rules if not rule.final)
        self._searched = DecisionSpace(space.decisions, self.rules)
        self._sizes = np.array([len(d.options) for d in space.decisions])

    def holds(self, indices: Sequence[int]) -> bool:
        """Return whether the architecture may be sampled."""
        if not self.rules:
            return True
        architecture = self.space.decode(indices)
        return all(rule.holds(architecture) for rule in self.rules)

    def uniform(self, rng: np.random.Generator) -> Indices:
        """Return a uniformly drawn architecture."""
        return self.space.encode(self._searched.sample(rng))

    def draw(
        self, theta: Matrix, distribution: JointDistribution, rng: np.random.Generator
    ) -> Indices:
        """Return an architecture drawn from a product of categorical distributions.

        Args:
            theta: decisions x options, rows padded with 0, each with sum 1.
            distribution: what the solver falls back to.
            rng: randomness.
        """
        cumulative = theta.cumsum(axis=1)
        for _ in range(_TRIES):
            at = (cumulative < rng.random(len(theta))[:, None] * cumulative[:, -1:]).sum(axis=1)
            indices = tuple(at.tolist())
            if self.holds(indices):
                return indices
        return self._solve(distribution, rng)

    def neighbours(self, indices: Indices) -> list[Indices]:
        """Return all legal architectures that differ in one decision."""
        return [
            other
            for i, size in enumerate(self._sizes.tolist())
            for option in range(size)
            if option != indices[i]
            and self.holds(other := (*indices[:i], option, *indices[i + 1 :]))
        ]

    def mutate(self, indices: Indices, rng: np.random.Generator) -> Indices:
        """Return a legal architecture with one decision changed at random.

        Where the rules allow no single change, a uniformly drawn architecture.
        """
        free = np.flatnonzero(self._sizes > 1)
        for _ in range(_TRIES):
            if free.size == 0:
                return indices
            i = int(free[rng.integers(len(free))])
            option = int(rng.integers(self._sizes[i] - 1))
            option += option >= indices[i]
            other = (*indices[:i], option, *indices[i + 1 :])
            if self.holds(other):
                return other
        return self.uniform(rng)

    def fair_cycle(
        self, distribution: JointDistribution, rng: np.random.Generator
    ) -> list[Indices]:
        """Return one cycle: architectures in which every survivor that can occur does.

        Without rules, :meth:`JointDistribution.fair_cycle`. With rules, what of such a cycle is
        legal, and for each survivor still missing an architecture that contains it, found by the
        solver; a survivor that no legal architecture of survivors contains is left out.
        """
        cycle = [self.space.encode(a) for a in distribution.fair_cycle(rng)]
        if not self.rules:
            return cycle
        cycle = [indices for indices in cycle if self.holds(indices)]
        missing = {
            (i, int(option))
            for i, alive in enumerate(distribution.alive)
            for option in np.flatnonzero(alive)
        }
        for indices in cycle:
            missing -= set(enumerate(indices))
        for pair in sorted(missing):
            if pair not in missing:
                continue
            try:
                indices = self._solve(distribution, rng, contains=pair, prefer=missing)
            except InfeasibleError:
                continue
            cycle.append(indices)
            missing -= set(enumerate(indices))
        return cycle or [self._solve(distribution, rng)]

    def spared(self, distribution: JointDistribution) -> Indices | None:
        """Return the likeliest legal architecture of survivors; None where there are no rules.

        None of its options may be pruned, so that something legal always survives.
        """
        if not self.rules:
            return None
        found = generate(distribution, self._searched, survivors_only=True)
        return self.space.encode(found.architecture)

    def _solve(
        self,
        distribution: JointDistribution,
        rng: np.random.Generator,
        contains: tuple[int, int] | None = None,
        prefer: set[tuple[int, int]] | None = None,
    ) -> Indices:
        """Return the legal optimum of a random objective over survivors."""
        space = self._searched
        if contains is not None:
            decision = space.decisions[contains[0]]
            pair = (decision.name, decision.options[contains[1]])
            forced = Rule({pair: 1.0}, f"contains {pair}", lower=1.0)
            space = DecisionSpace(space.decisions, (*self.rules, forced))
        rows = [rng.dirichlet(np.ones(size)) for size in self._sizes]
        for i, option in prefer or ():
            rows[i][option] += 1.0
        found = generate(
            distribution.with_rows(rows), space, objective="theta", survivors_only=True
        )
        return space.encode(found.architecture)
