"""Problem: a space, its rules and the costs in question, ready to be solved any number of times.

Solved over the diagram of legal architectures (`diagram`); where rules of many uneven
weights make that too large, as a 0-1 programme (`programme`). Both are exact.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.generation._diagram import Diagram, Vector
from ddpnas.generation._milp import Programme
from ddpnas.generation._paths import best_paths
from ddpnas.generation.limits import Limit, within
from ddpnas.generation.objective import whole_rows
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["Problem"]

Limits = Mapping[str, Limit]


class Problem:
    """What may be chosen, and what it costs.

    Args:
        space: decisions and rules.
        costs: the tables that limits may name.
        rules: further rules.
        allowed: which options of each decision may be chosen; all if left out.
    """

    def __init__(
        self,
        space: DecisionSpace,
        costs: Mapping[str, CostTable],
        rules: Sequence[Rule] = (),
        allowed: Sequence[npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        for table in costs.values():
            table.check(space)
        self.space = space
        self.costs = dict(costs)
        self._rules = rules
        self._allowed = allowed

    @functools.cached_property
    def diagram(self) -> Diagram | None:
        """The legal architectures as paths; None where that is too large."""
        try:
            return Diagram(self.space, list(self.costs.values()), self._rules, self._allowed)
        except OverflowError:
            return None

    @functools.cached_property
    def programme(self) -> Programme:
        """The 0-1 programme."""
        return Programme(self.space, self.costs, self._rules, self._allowed)

    def best(self, rows: Sequence[Vector], limits: Limits) -> Iterator[tuple[Architecture, float]]:
        """Yield different architectures within the limits by falling value, best first.

        Each with a bound on the value of all that come after it; minus infinity where it is
        proven by exhaustion. Architectures that differ only in decisions that do not matter
        (``space.active``) are yielded once.

        Args:
            rows: value of each option of each decision.
            limits: cost name -> limit.
        """
        if self.diagram is not None:
            values = self.diagram.values(whole_rows(list(rows)))
            yielded = []
            try:
                for architecture in self._paths(self.diagram, values, limits):
                    yielded.append(architecture)
                    yield architecture, -np.inf
            except OverflowError:
                yield from self._programmes(np.concatenate(rows), limits, yielded)
        else:
            yield from self._programmes(np.concatenate(rows), limits, [])

    def extreme(self, name: str, sign: float, limits: Limits) -> Architecture | None:
        """Return the architecture of the least (sign 1) or most (-1) cost within the limits."""
        if self.diagram is not None:
            at = list(self.costs).index(name)
            values = [-sign * layer.cost[at] for layer in self.diagram.layers]
            try:
                return next(self._paths(self.diagram, values, limits), None)
            except OverflowError:
                pass  # the programme answers
        solved = self.programme.maximise(-sign * self.programme.row(self.costs[name]), limits)
        return solved.architecture if solved is not None else None

    def _paths(
        self, diagram: Diagram, values: Sequence[Vector], limits: Limits
    ) -> Iterator[Architecture]:
        def accept(options: list[int]) -> bool:
            return within(diagram.decode(options), limits, self.costs)

        def matter(options: list[int]) -> list[bool]:
            active = set(self.space.active(diagram.decode(options)))
            return [self.space.decisions[layer.decision].name in active for layer in diagram.layers]

        limit_of = [limits.get(name, Limit()) for name in self.costs]
        for path in best_paths(diagram, values, limit_of, accept, matter):
            yield diagram.decode(path.options)

    def _programmes(
        self, objective: Vector, limits: Limits, found: Sequence[Architecture]
    ) -> Iterator[tuple[Architecture, float]]:
        without = [self._mattering(architecture) for architecture in found]
        while (solved := self.programme.maximise(objective, limits, without)) is not None:
            yield solved.architecture, solved.bound
            without.append(self._mattering(solved.architecture))

    def _mattering(self, architecture: Architecture) -> dict[str, str]:
        return {name: architecture[name] for name in self.space.active(architecture)}
