"""Why no architecture is within the limits: which of them conflict, and what can be reached."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from ddpnas.errors import InfeasibleError, Unmet
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import Limit, amount

__all__ = ["infeasible"]

Side = tuple[str, str, float]  # name of the cost, "<=" or ">=", the limit


def infeasible(
    problem: Problem, limits: Mapping[str, Limit], asked: Mapping[str, Limit]
) -> InfeasibleError:
    """Return the error that says why no architecture is within the limits.

    Args:
        problem: The space and its costs.
        limits: Limits that are known not to be met.
        asked: The limits before a margin was taken off.
    """
    sides = [(name, "<=", one.upper) for name, one in limits.items() if one.upper < math.inf]
    sides += [(name, ">=", one.lower) for name, one in limits.items() if one.lower > -math.inf]
    conflict = list(sides)
    # A smallest conflict: leave out every limit without which the rest still cannot be met.
    for side in sides:
        fewer = [other for other in conflict if other != side]
        if not _possible(problem, fewer):
            conflict = fewer
    if not conflict:
        return InfeasibleError("no architecture obeys the rules of the space")
    # The rest can be met without any one limit; ask how close to that one it comes.
    unmet = []
    for side in conflict:
        name, relation, limit = side
        others = _limits([other for other in conflict if other != side])
        architecture = problem.extreme(name, 1.0 if relation == "<=" else -1.0, others)
        assert architecture is not None  # the others can be met
        reachable = problem.costs[name].cost(architecture)
        unmet.append(Unmet(name, relation, limit, reachable, architecture))
    return InfeasibleError(_sentence(problem, unmet, asked), unmet)


def _limits(sides: list[Side]) -> dict[str, Limit]:
    limits: dict[str, Limit] = {}
    for name, relation, end in sides:
        side = {"upper" if relation == "<=" else "lower": end}
        limits[name] = dataclasses.replace(limits.get(name, Limit()), **side)
    return limits


def _possible(problem: Problem, sides: list[Side]) -> bool:
    """Return whether an architecture meets all sides."""
    if not sides:
        return problem.feasible(next(iter(problem.costs)), 1.0, {}) is not None
    name, relation, _ = sides[0]
    sign = 1.0 if relation == "<=" else -1.0
    return problem.feasible(name, sign, _limits(sides)) is not None


def _sentence(problem: Problem, unmet: list[Unmet], asked: Mapping[str, Limit]) -> str:
    listed, reached = [], []
    for one in unmet:
        ends = amount(one.limit), amount(one.reachable)
        if ends[0] == ends[1]:  # they differ in later digits
            ends = repr(one.limit), repr(one.reachable)
        word = "lowest" if one.relation == "<=" else "highest"
        name = "" if len(unmet) == 1 else f" {one.name}"
        unit = problem.costs[one.name].unit
        text = problem.space.format(one.architecture)
        before = asked[one.name].upper if one.relation == "<=" else asked[one.name].lower
        note = "" if before == one.limit else f" ({amount(before)} and the margin for its error)"
        listed.append(f"{one.name} {one.relation} {ends[0]}{note}")
        reached.append(f"the {word} possible{name} is {ends[1]} {unit}, with {text}")
    if len(unmet) == 1:
        return f"the limit {listed[0]} cannot be met: {reached[0]}"
    return (
        f"the limits {' and '.join(listed)} cannot be met together, although all but any one of "
        f"them can; with the others met, {'; '.join(reached)}"
    )
