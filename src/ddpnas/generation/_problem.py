"""Problem: a space, its rules and the costs in question, ready to be solved any number of times.

The solver in one paragraph: choosing an option for each decision under limits on additive costs is
a resource-constrained longest path through a decision diagram. It is solved exactly by label
setting with dominance, where a Lagrangian bound, whose multipliers are the duals of the linear
relaxation, drops what cannot become the optimum. The k best are found by Lawler's partition. A
diagram that would be too large is replaced by a 0-1 program.

Read the files in this order:

    _diagram   the layered graph of legal architectures, and exact whole-number costs
    _labels    partial architectures, and which of them dominate others
    _paths     the best path within limits, the k best ones, and the proof
    _sums      decisions that multiply a sum over others
    _milp      the 0-1 program
    _problem   both behind one interface
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.generation._diagram import SAFE, Diagram, Vector
from ddpnas.generation._milp import ZeroOneProgram
from ddpnas.generation._paths import best_paths
from ddpnas.generation.limits import Limit, within
from ddpnas.generation.objective import whole_rows
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.utils.exact import plain

__all__ = ["Problem"]


class Problem:
    """What may be chosen, and what it costs.

    Args:
        space: Decisions and rules.
        costs: The tables that limits may name.
        rules: Further rules.
        allowed: Which options of each decision may be chosen; all if left out.
        method: "auto" solves over the decision diagram, or by the 0-1 program where the diagram
            would be too large. "program" always takes the 0-1 program.

    Raises:
        SpaceError: A table is not of this space.
    """

    def __init__(
        self,
        space: DecisionSpace,
        costs: Mapping[str, CostTable],
        rules: Sequence[Rule] = (),
        allowed: Sequence[npt.NDArray[np.bool_]] | None = None,
        *,
        method: Literal["auto", "program"] = "auto",
    ) -> None:
        for table in costs.values():
            table.check(space)
        self.space = space
        self.costs = dict(costs)
        self._rules = rules
        self._allowed = allowed
        self._method = method

    @functools.cached_property
    def diagram(self) -> Diagram | None:
        """The legal architectures as paths; None where the 0-1 program is used instead."""
        if self._method == "program":
            return None
        try:
            return Diagram(self.space, list(self.costs.values()), self._rules, self._allowed)
        except OverflowError:
            return None

    @functools.cached_property
    def program(self) -> ZeroOneProgram:
        """The 0-1 program."""
        return ZeroOneProgram(self.space, self.costs, self._rules, self._allowed)

    def best(
        self, rows: Sequence[Vector], limits: Mapping[str, Limit]
    ) -> Iterator[tuple[Architecture, float]]:
        """Yield (architecture, bound): no later architecture has a larger value than ``bound``.

        Architectures come by falling value. The diagram proves this order itself and yields minus
        infinity as the bound. Architectures that differ only in decisions that do not matter
        (``space.active``) are yielded once.

        Args:
            rows: The value of each option of each decision.
            limits: Cost name -> limit.
        """
        yielded: list[Architecture] = []
        if self.diagram is not None:
            values = self.diagram.values(whole_rows(list(rows)))
            try:
                for architecture in self._paths(self.diagram, values, limits):
                    yielded.append(architecture)
                    yield architecture, -np.inf
                return
            except OverflowError:
                pass  # too many labels: the program goes on behind what was yielded
        yield from self._by_program(np.concatenate(rows), limits, yielded)

    def extreme(self, name: str, sign: float, limits: Mapping[str, Limit]) -> Architecture | None:
        """Return the architecture of least (sign 1) or most (-1) cost; None if there is none.

        Args:
            name: Name of the cost.
            sign: 1 for the least, -1 for the most.
            limits: Cost name -> limit that the architecture has to meet.
        """
        found = self.feasible(name, sign, limits)
        rounded = self.costs[name].whole.largest >= SAFE
        while rounded and found is not None:  # closer by what the solvers round, if at all
            limit = limits.get(name, Limit())
            end = _next(self.costs[name].cost(found), -sign)
            if not limit.holds(end):
                break
            side = {"upper": end} if sign > 0 else {"lower": end}
            closer = {**limits, name: dataclasses.replace(limit, **side)}
            better = self.feasible(name, sign, closer)
            if better is None:
                break
            found = better
        return found

    def feasible(self, name: str, sign: float, limits: Mapping[str, Limit]) -> Architecture | None:
        """Return an architecture within limits, None if there is none.

        Args:
            name: Name of a cost.
            sign: 1 for about the least of that cost, -1 for about the most.
            limits: Cost name -> limit.
        """
        if self.diagram is not None:
            values = self.diagram.values_of(list(self.costs).index(name), -sign)
            try:
                return next(self._paths(self.diagram, values, limits), None)
            except OverflowError:
                pass  # the program answers
        row = self.program.row(name)
        solved = self.program.maximize(-sign * row, limits)
        return solved.architecture if solved is not None else None

    def _paths(
        self, diagram: Diagram, values: Sequence[Vector], limits: Mapping[str, Limit]
    ) -> Iterator[Architecture]:
        def accept(options: list[int]) -> bool:
            return within(diagram.decode(options), limits, self.costs)

        def matter(options: list[int]) -> list[bool]:
            active = set(self.space.active(diagram.decode(options)))
            return [self.space.decisions[layer.decision].name in active for layer in diagram.layers]

        limit_of = [limits.get(name, Limit()) for name in self.costs]
        for path in best_paths(diagram, values, limit_of, accept, matter):
            yield diagram.decode(path.options)

    def _by_program(
        self, objective: Vector, limits: Mapping[str, Limit], found: Sequence[Architecture]
    ) -> Iterator[tuple[Architecture, float]]:
        """Yield the optimum, the optimum without it, and so on."""
        without = [self._mattering(architecture) for architecture in found]
        while (solved := self.program.maximize(objective, limits, without)) is not None:
            yield solved.architecture, solved.bound
            without.append(self._mattering(solved.architecture))

    def _mattering(self, architecture: Architecture) -> dict[str, str]:
        return {name: architecture[name] for name in self.space.active(architecture)}


def _next(cost: float, sign: float) -> float:
    """Return the next larger (sign 1) or smaller (-1) number that a cost can be."""
    if isinstance(cost, int):
        return plain(cost + int(sign))
    return plain(math.nextafter(cost, sign * math.inf))
