"""Architectures that a search may sample: they obey the rules that are not ``final``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ddpnas.errors import InfeasibleError
from ddpnas.generation.best import generate
from ddpnas.space.decisions import Decision, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution

__all__ = ["Choices", "Indices", "LegalSampler", "RuleMatrix"]

Indices = tuple[int, ...]  # option indices of one architecture
Choices = npt.NDArray[np.int64]  # architectures x decisions, option indices
Mask = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

_TRIES = 200  # random draws before the solver is asked
_MOST = 2**62  # sums below are safe in 64 bits


class RuleMatrix:
    """Rules as one matrix of whole numbers (:attr:`ddpnas.Rule.whole`), for many architectures.

    Args:
        decisions: Decisions of the space.
        rules: The rules to test.

    Example:
        >>> decisions = [Decision("a", ("x", "y")), Decision("b", ("x", "y"))]
        >>> rule = Rule({("a", "y"): 1.0, ("b", "y"): 1.0}, says="at most one y", upper=1.0)
        >>> RuleMatrix(decisions, [rule]).holds(np.array([[0, 1], [1, 1]]))
        array([ True, False])
    """

    def __init__(self, decisions: Sequence[Decision], rules: Sequence[Rule]) -> None:
        sizes = [len(d.options) for d in decisions]
        self._starts = np.cumsum([0, *sizes[:-1]])
        pairs = [(d.name, option) for d in decisions for option in d.options]
        rows = [[rule.whole.weights.get(pair, 0) for pair in pairs] for rule in rules]
        ends = [[rule.whole.lower for rule in rules], [rule.whole.upper for rule in rules]]
        fits = all(sum(map(abs, row)) < _MOST for row in rows)
        if fits:  # no sum is beyond it, and so an end beyond it says no more than one there
            ends = [[int(max(-_MOST, min(end, _MOST))) for end in side] for side in ends]
        kind = np.int64 if fits else object
        self._weights = np.array(rows, dtype=kind).reshape(len(rules), len(pairs))
        self._lower, self._upper = np.array(ends, dtype=kind)[:, :, None]

    def holds(self, choices: Choices) -> Mask:
        """Return which architectures obey all rules.

        Args:
            choices: (n, d) option indices.

        Returns:
            (n,) booleans.
        """
        sums = self._weights[:, choices + self._starts].sum(axis=2)
        return np.asarray(((self._lower <= sums) & (sums <= self._upper)).all(axis=0))


class LegalSampler:
    """Draws architectures of a space that obey its rules for searching.

    Where random draws keep breaking the rules, the optimum of a random objective is taken. It is
    always legal, but no longer drawn exactly from the distribution asked for.

    Args:
        space: The decisions and rules. Rules that are ``final`` do not bind a search.

    Attributes:
        rules: The rules that bind the search.

    Example:
        >>> space = DecisionSpace([Decision("a", ("x", "y")), Decision("b", ("p", "q", "r"))])
        >>> sampler = LegalSampler(space)
        >>> sampler.neighbors((0, 1))
        [(1, 1), (0, 0), (0, 2)]
        >>> sampler.uniform(np.random.default_rng(0)) in sampler.neighbors((0, 1))
        True
    """

    def __init__(self, space: DecisionSpace) -> None:
        self.space = space
        self.rules = tuple(rule for rule in space.rules if not rule.final)
        self._searched = DecisionSpace(space.decisions, self.rules)
        self._matrix = RuleMatrix(space.decisions, self.rules)
        self._sizes = np.array([len(d.options) for d in space.decisions])

    def holds(self, choices: Choices) -> Mask:
        """Return which of the architectures, (n, d) option indices, may be sampled."""
        return self._matrix.holds(choices)

    def allows(self, indices: Sequence[int]) -> bool:
        """Return whether one architecture may be sampled."""
        return not self.rules or bool(self.holds(np.array([indices]))[0])

    def uniform(self, rng: np.random.Generator) -> Indices:
        """Return a uniformly drawn architecture."""
        return self.space.encode(self._searched.sample(rng))

    def draw(
        self, theta: Matrix, distribution: JointDistribution, rng: np.random.Generator
    ) -> Indices:
        """Return an architecture drawn from a product of categorical distributions.

        Args:
            theta: Decisions x options, rows padded with 0, each with sum 1.
            distribution: Its survivors are the options from which the solver may choose.
            rng: Source of randomness.
        """
        cumulative = theta.cumsum(axis=1)
        for _ in range(_TRIES):
            at = (cumulative < rng.random(len(theta))[:, None] * cumulative[:, -1:]).sum(axis=1)
            if self.allows(at):
                return tuple(at.tolist())
        return self._solve(distribution, rng)

    def neighbors(self, indices: Indices) -> list[Indices]:
        """Return all legal architectures that are one change of one decision away."""
        others = [
            (*indices[:i], option, *indices[i + 1 :])
            for i, decision in enumerate(self.space.decisions)
            for option in decision.neighbors(indices[i])
        ]
        if not others:
            return []
        legal = self.holds(np.array(others))
        return [other for other, allowed in zip(others, legal, strict=True) if allowed]

    def mutate(self, indices: Indices, rng: np.random.Generator) -> Indices:
        """Return a legal architecture that is one random change of one decision away.

        Where the rules allow no single change, a uniformly drawn architecture.
        """
        free = np.flatnonzero(self._sizes > 1)
        for _ in range(_TRIES):
            if free.size == 0:
                return indices
            i = int(free[rng.integers(len(free))])
            near = self.space.decisions[i].neighbors(indices[i])
            other = (*indices[:i], near[rng.integers(len(near))], *indices[i + 1 :])
            if self.allows(other):
                return other
        return self.uniform(rng)

    def fair_cycle(self, distribution: JointDistribution, rng: np.random.Generator) -> Choices:
        """Return one cycle: architectures in which every survivor that can occur does.

        Without rules it is :meth:`JointDistribution.fair_choices`. With rules, the legal ones of
        such a cycle stay, and the solver adds an architecture for each survivor still missing. A
        survivor that no legal architecture of survivors contains is left out.

        Returns:
            (n, d) option indices.
        """
        cycle = distribution.fair_choices(rng)
        if not self.rules:
            return cycle
        legal: list[Indices] = [tuple(row) for row in cycle[self.holds(cycle)].tolist()]
        missing = {
            (i, int(option))
            for i, alive in enumerate(distribution.alive)
            for option in np.flatnonzero(alive)
        }
        for indices in legal:
            missing -= set(enumerate(indices))
        for pair in sorted(missing):
            if pair not in missing:
                continue
            try:
                indices = self._solve(distribution, rng, contains=pair, prefer=missing)
            except InfeasibleError:
                continue
            legal.append(indices)
            missing -= set(enumerate(indices))
        return np.array(legal or [self._solve(distribution, rng)])

    def protected_options(self, distribution: JointDistribution) -> Indices | None:
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
