"""Limits on costs: how they are given, checked, and said."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest

__all__ = [
    "Bounds",
    "Limit",
    "amount",
    "checked_limits",
    "limit_arguments",
    "plain_limits",
    "read_limits",
    "say_limits",
    "slack",
    "within",
]

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
            raise OptionError(
                f"{nearest('limit', name, costs)}; any other needs its table: --costs TABLE.json, "
                f"made by `ddpnas latency` for milliseconds"
            )
        low, up = _ends(limit)
        if math.isnan(low) or math.isnan(up) or not low <= up:
            raise OptionError(f"the limit on {name} is no range: from {low} to {up}")
        bounds[name] = (float(low), float(up))
    return bounds


def _ends(limit: Limit) -> tuple[float, float]:
    """Return (lower, upper), infinite where there is none."""
    return limit if isinstance(limit, tuple) else (-math.inf, limit)


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


def plain_limits(limits: Mapping[str, Limit]) -> dict[str, float | list[float | None]]:
    """Return limits as plain data for JSON: an upper limit, or [lower, upper], None for none."""

    def finite(end: float) -> float | None:
        return end if math.isfinite(end) else None

    return {
        name: [finite(limit[0]), finite(limit[1])] if isinstance(limit, tuple) else limit
        for name, limit in limits.items()
    }


def read_limits(plain: Mapping[str, float | list[float | None]]) -> dict[str, Limit]:
    """Return the limits that :func:`plain_limits` described."""
    limits: dict[str, Limit] = {}
    for name, limit in plain.items():
        if isinstance(limit, list):
            low, up = limit
            limits[name] = (-math.inf if low is None else low, math.inf if up is None else up)
        else:
            limits[name] = limit
    return limits


def say_limits(limits: Mapping[str, Limit]) -> str:
    """Return limits for a sentence: ``macs <= 20,000,000, 10 <= latency_ms <= 20``."""
    said = []
    for name, limit in limits.items():
        low, up = _ends(limit)
        if low == -math.inf:
            said.append(f"{name} <= {amount(up)}")
        elif up == math.inf:
            said.append(f"{name} >= {amount(low)}")
        else:
            said.append(f"{amount(low)} <= {name} <= {amount(up)}")
    return ", ".join(said)


def limit_arguments(limits: Mapping[str, Limit]) -> list[str]:
    """Return limits exactly, as the command line takes them: ``macs=20000000``, ``macs>=5``."""

    def exact(end: float) -> str:
        return f"{end:.0f}" if float(end).is_integer() else repr(float(end))

    texts = []
    for name, limit in limits.items():
        low, up = _ends(limit)
        if low == -math.inf:
            texts.append(f"{name}={exact(up)}")
        elif up == math.inf:
            texts.append(f"{name}>={exact(low)}")
        else:
            texts.append(f"{name}={exact(low)}..{exact(up)}")
    return texts


def amount(value: float) -> str:
    """Return a cost for a sentence: whole numbers in full, others with six digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
