"""UniformSampler: exactly uniform choices under linear rules, without rejection.

Decisions that share a rule are drawn together. Going through them one by one, all that matters
of the choices made so far are the rules' partial sums; so the numbers of ways to finish from
every partial sum are counted once, backwards (dynamic programming), and each option is then
drawn in proportion to the ways it leaves open. Every architecture that obeys the rules comes
out with the same probability, however rare they are among all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["UniformSampler"]

State = tuple[float, ...]

_DIGITS = 9  # partial sums that agree to so many decimals are one
_MOST_STATES = 200_000


class UniformSampler:
    """Draws of option indices, uniform among those that obey all rules.

    Args:
        sizes: options of each decision.
        weights: a rule each, the weight of every option of every decision: ``weights[r][d][o]``,
            None for a decision of which the rule does not speak.
        bounds: (lower, upper) of each rule's sum, inclusive.

    Raises:
        OverflowError: the rules have more than 200,000 different partial sums.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[Sequence[Sequence[float] | None]],
        bounds: Sequence[tuple[float, float]],
    ) -> None:
        self._sizes = tuple(sizes)
        self._groups = [
            _Group(self._sizes, decisions, [weights[r] for r in rules], [bounds[r] for r in rules])
            for decisions, rules in _groups(len(self._sizes), weights)
        ]
        tied = {decision for group in self._groups for decision in group.decisions}
        free = [size for i, size in enumerate(self._sizes) if i not in tied]
        self.count = math.prod(free) * math.prod(group.count for group in self._groups)

    def draw(self, rng: np.random.Generator) -> list[int]:
        """Return an option index for every decision; ``count`` must not be 0."""
        indices = [int(i) for i in rng.integers(self._sizes)]
        for group in self._groups:
            group.draw(rng, indices)
        return indices


class _Group:
    """Decisions tied to each other by rules."""

    def __init__(
        self,
        sizes: Sequence[int],
        decisions: Sequence[int],
        weights: Sequence[Sequence[Sequence[float] | None]],
        bounds: Sequence[tuple[float, float]],
    ) -> None:
        self.decisions = tuple(decisions)
        self._steps: list[list[State]] = []  # per decision and option: what it adds to the sums
        for decision in decisions:
            rows = [rule[decision] for rule in weights]
            self._steps.append(
                [
                    tuple(0.0 if row is None else float(row[option]) for row in rows)
                    for option in range(sizes[decision])
                ]
            )
        reached: list[set[State]] = [{(0.0,) * len(bounds)}]
        for steps in self._steps:
            reached.append({_plus(state, step) for state in reached[-1] for step in steps})
            if sum(map(len, reached)) > _MOST_STATES:
                raise OverflowError("too many partial sums")
        tolerance = 10.0 ** (1 - _DIGITS)
        ways = {
            state: int(
                all(
                    low - tolerance <= total <= up + tolerance
                    for total, (low, up) in zip(state, bounds, strict=True)
                )
            )
            for state in reached[-1]
        }
        self._ways = [ways]  # after d decisions: partial sums -> number of ways to finish
        for states, steps in zip(reached[-2::-1], self._steps[::-1], strict=True):
            ways = {state: sum(ways[_plus(state, step)] for step in steps) for state in states}
            self._ways.insert(0, ways)
        self._start: State = (0.0,) * len(bounds)
        self.count = self._ways[0][self._start]

    def draw(self, rng: np.random.Generator, indices: list[int]) -> None:
        """Set the indices of this group's decisions."""
        state = self._start
        for depth, (decision, steps) in enumerate(zip(self.decisions, self._steps, strict=True)):
            left = self._ways[depth + 1]
            total = self._ways[depth][state]
            shares = [left[_plus(state, step)] / total for step in steps]
            option = int(rng.choice(len(shares), p=np.array(shares) / math.fsum(shares)))
            indices[decision] = option
            state = _plus(state, steps[option])


def _plus(state: State, step: State) -> State:
    return tuple(round(a + b, _DIGITS) for a, b in zip(state, step, strict=True))


def _groups(
    decisions: int, weights: Sequence[Sequence[Sequence[float] | None]]
) -> list[tuple[list[int], list[int]]]:
    """Return (decisions, rules) of every set that rules tie together."""
    groups: list[tuple[set[int], list[int]]] = []
    for rule, rows in enumerate(weights):
        members = {d for d in range(decisions) if rows[d] is not None}
        rules = [rule]
        apart = []
        for other, other_rules in groups:
            if other & members or not members:
                members |= other
                rules += other_rules
            else:
                apart.append((other, other_rules))
        groups = [*apart, (members, rules)]
    return [(sorted(members), sorted(rules)) for members, rules in groups]
