"""Why no architecture is within the limits, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ddpnas.limits import amount
from ddpnas.programme import Programme

__all__ = ["why_infeasible"]


def why_infeasible(problem: Programme, bounds: Mapping[str, tuple[float, float]]) -> str:
    """Return the sentence that names the limit that cannot be met and the least reachable."""
    nothing = "no architecture obeys the rules of the space"
    for name, (low, up) in bounds.items():
        table = problem.costs[name]
        for sign, limit, relation, word in ((1, up, "<=", "least"), (-1, low, ">=", "most")):
            solved = problem.maximise(-sign * problem.row(table), {})
            if solved is None:
                return nothing
            reachable = table.cost(solved.architecture)
            if sign * reachable > sign * limit:
                return (
                    f"the limit {name} {relation} {amount(limit)} cannot be met: the {word} "
                    f"reachable is {amount(reachable)} {table.unit}, by "
                    f"{problem.space.format(solved.architecture)}"
                )
    if not bounds:
        return nothing
    listed = " and ".join(
        f"{name} between {amount(low)} and {amount(up)}"
        if math.isfinite(low)
        else f"{name} <= {amount(up)}"
        for name, (low, up) in bounds.items()
    )
    first, *others = bounds
    solved = problem.maximise(-problem.row(problem.costs[first]), {n: bounds[n] for n in others})
    together = f"{listed} cannot be met together, although each end alone can"
    if solved is None or not others:
        return together
    least = problem.costs[first].cost(solved.architecture)
    return (
        f"{together}; with the others met, the least reachable {first} is {amount(least)} "
        f"{problem.costs[first].unit}, by {problem.space.format(solved.architecture)}"
    )
