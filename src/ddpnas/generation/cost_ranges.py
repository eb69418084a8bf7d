"""cost_ranges(): least, median and most of each cost of a space, before anything is trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError
from ddpnas.generation._problem import Problem
from ddpnas.space.decisions import DecisionSpace

__all__ = ["CostRange", "cost_bounds", "cost_ranges"]


@dataclass(frozen=True)
class CostRange:
    """How one cost varies over a space.

    Attributes:
        name, unit: Name and unit of the cost table.
        least, most: Exact ends of the range (:func:`cost_bounds`).
        median: Median over random architectures.
        samples: Number of random architectures.

    Example:
        >>> one = CostRange("macs", "MACs", least=10, median=30, most=90, samples=1001)
        >>> one.most / one.least
        9.0
    """

    name: str
    unit: str
    least: float
    median: float
    most: float
    samples: int


def cost_bounds(table: CostTable, space: DecisionSpace) -> tuple[float, float]:
    """Return the least and the most that an architecture of the space costs, both exact.

    Args:
        table: The cost.
        space: Decisions and rules.

    Raises:
        InfeasibleError: No architecture obeys the rules of the space.
        SpaceError: The table is of another space.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> table = ddpnas.count_costs(space)["params"]
        >>> least, most = cost_bounds(table, space)
        >>> least < table.cost(space.sample(np.random.default_rng(0))) < most
        True
    """
    problem = Problem(space, {table.name: table})
    least, most = (problem.extreme(table.name, sign, {}) for sign in (1.0, -1.0))
    if least is None or most is None:
        raise InfeasibleError("no architecture obeys the rules of the space")
    return table.cost(least), table.cost(most)


def cost_ranges(
    space: DecisionSpace, costs: Mapping[str, CostTable], *, samples: int = 1001
) -> list[CostRange]:
    """Return the range of each cost over the architectures that obey the space's rules.

    Args:
        space: Decisions and rules.
        costs: Cost name -> table.
        samples: Number of random architectures for the median, the same for every cost.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> [one.name for one in cost_ranges(space, ddpnas.count_costs(space), samples=5)]
        ['macs', 'params', 'size_bytes', 'activation_bytes']
    """
    rng = np.random.default_rng(0)
    bounds = {name: cost_bounds(table, space) for name, table in costs.items()}
    drawn = [space.sample(rng) for _ in range(samples)]
    return [
        CostRange(
            name=name,
            unit=table.unit,
            least=bounds[name][0],
            median=statistics.median(table.cost(architecture) for architecture in drawn),
            most=bounds[name][1],
            samples=samples,
        )
        for name, table in costs.items()
    ]
