"""What a space costs before anything is trained: least, median and most of each cost."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ddpnas.architecture import DecisionSpace
from ddpnas.cost_table import CostTable
from ddpnas.generate import least_cost

__all__ = ["CostRange", "cost_ranges"]


@dataclass(frozen=True)
class CostRange:
    """How one cost varies over a space.

    Attributes:
        name, unit: of the cost table.
        least, most: exact, by integer programming.
        median: of random architectures.
        samples: how many those were.
    """

    name: str
    unit: str
    least: float
    median: float
    most: float
    samples: int


def cost_ranges(
    space: DecisionSpace, costs: Mapping[str, CostTable], *, samples: int = 1001, seed: int = 0
) -> list[CostRange]:
    """Return the range of each cost over the architectures that obey the space's rules.

    Args:
        space: decisions and rules.
        costs: tables by name.
        samples: random architectures for the median, the same for every cost.
        seed: of these.
    """
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(samples)]
    return [
        CostRange(
            name=name,
            unit=table.unit,
            least=least_cost(space, table)[1],
            median=statistics.median(table.cost(architecture) for architecture in drawn),
            most=-least_cost(space, _negated(table))[1],
            samples=samples,
        )
        for name, table in costs.items()
    ]


def _negated(table: CostTable) -> CostTable:
    return dataclasses.replace(
        table, fixed=-table.fixed, terms={pairs: -cost for pairs, cost in table.terms.items()}
    )
