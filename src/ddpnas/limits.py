"""Limits on costs: how they are given, checked, and said."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ddpnas.cost_table import CostTable
from ddpnas.errors import OptionError, nearest

__all__ = ["Bounds", "Limit", "amount", "checked_limits", "slack", "within"]

Limit = float | tuple[float, float]
Bounds = dict[str, tuple[float, float]]


def checked_limits(limits: Mapping[str, Limit], costs: Mapping[str, CostTable]) -> Bounds:
    """Return (lower, upper) of every limit; infinite where there is none.

    Raises:
        OptionError: a limit without a cost table, or one that is no range.
    """
    bounds = {}
    for name, limit in limits.items():
        if name not in costs:
            raise OptionError(nearest("limit", name, costs))
        low, up = limit if isinstance(limit, tuple) else (-math.inf, limit)
        if math.isnan(low) or math.isnan(up) or not low <= up:
            raise OptionError(f"the limit on {name} is no range: from {low} to {up}")
        bounds[name] = (float(low), float(up))
    return bounds


def within(
    architecture: Mapping[str, str],
    bounds: Mapping[str, tuple[float, float]],
    costs: Mapping[str, CostTable],
) -> bool:
    """Return whether every cost of the architecture is within its bounds, both inclusive."""
    return all(low <= costs[name].cost(architecture) <= up for name, (low, up) in bounds.items())


def slack(cost: float, low: float, up: float) -> float:
    """Return how far a cost is from the nearer end of its limit; negative outside it."""
    return min(up - cost, cost - low)


def amount(value: float) -> str:
    """Return a cost for a sentence: whole numbers in full, others with six digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
