"""UniformSampler: exactly uniform choices under linear rules, without rejection.

Decisions that share a rule are drawn together, one after the other. Of the choices made so far only
the partial sums of the rules matter. So the sampler counts once, backwards, how many ways there
are to finish from every partial sum (dynamic programming). It then draws each option in
proportion to the number of ways it leaves open. Every architecture that obeys the rules comes out
with the same probability, however few of them there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["UniformSampler"]

State = tuple[int, ...]

_MOST_STATES = 200_000


class UniformSampler:
    """Draws of option indices, uniform among those that obey all rules.

    Args:
        sizes: Number of options of each decision.
        weights: Weight of option o of decision d in rule r, ``weights[r][d][o]``, a whole number;
            None instead of the list for a decision that the rule does not name.
        bounds: (lower, upper) of the sum of each rule, inclusive; infinite for none.

    Attributes:
        count: Number of architectures that obey all rules.

    Raises:
        OverflowError: The rules have more than 200,000 different partial sums.

    Example:
        >>> one_of_two = UniformSampler([2, 2], [[[0, 1], [0, 1]]], [(1, 1)])
        >>> one_of_two.count, sum(one_of_two.draw(np.random.default_rng(0)))
        (2, 1)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[Sequence[Sequence[int] | None]],
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
        weights: Sequence[Sequence[Sequence[int] | None]],
        bounds: Sequence[tuple[float, float]],
    ) -> None:
        self.decisions = tuple(decisions)
        self._steps: list[list[State]] = []  # per decision and option: what it adds to the sums
        for decision in decisions:
            rows = [rule[decision] for rule in weights]
            self._steps.append(
                [
                    tuple(0 if row is None else row[option] for row in rows)
                    for option in range(sizes[decision])
                ]
            )
        # Forwards: which partial sums can be reached after each decision.
        self._start: State = (0,) * len(bounds)
        reached: list[set[State]] = [{self._start}]
        for steps in self._steps:
            reached.append({_plus(state, step) for state in reached[-1] for step in steps})
            if sum(map(len, reached)) > _MOST_STATES:
                raise OverflowError("too many partial sums")
        ways = {
            state: int(
                all(low <= total <= up for total, (low, up) in zip(state, bounds, strict=True))
            )
            for state in reached[-1]
        }
        # Backwards: each state has as many ways to finish as its next states have together.
        self._ways = [ways]  # after d decisions: partial sums -> number of ways to finish
        for states, steps in zip(reached[-2::-1], self._steps[::-1], strict=True):
            ways = {state: sum(ways[_plus(state, step)] for step in steps) for state in states}
            self._ways.insert(0, ways)
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
    return tuple(a + b for a, b in zip(state, step, strict=True))


def _groups(
    decisions: int, weights: Sequence[Sequence[Sequence[int] | None]]
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
