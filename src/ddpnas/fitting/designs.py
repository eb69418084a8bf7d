"""Networks within limits that no standard design meets, or on the peak of the memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_architecture
from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError
from ddpnas.fitting.candidates import Entry
from ddpnas.fitting.timed import TimedLimits
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, within
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace

__all__ = ["PEAK", "added_limits", "any_within", "entry_by_peak"]

PEAK = "peak_activation_bytes"  # of all costs the one that is no sum over choices
_MOST_PEAKS = 40  # networks whose peak is counted, which takes some 50 ms for each


def any_within(
    space: EdgeSpace, limits: Mapping[str, Limit], latency: TimedLimits | None
) -> Architecture:
    """Return some network within all limits; an error names the lowest costs there are."""
    tables, wanted = dict(count_costs(space)), added_limits(limits)
    if latency is not None and latency.table is not None:
        tables[latency.table.name] = latency.table
        wanted |= latency.limits
    found = sample_within(space, wanted, tables, np.random.default_rng(0), margin=0.0)
    if PEAK in limits and not limits[PEAK].holds(peak := count_architecture(space, found)[PEAK]):
        raise InfeasibleError(
            f"no standard design has {PEAK} {limits[PEAK].describe()} within the other limits, "
            f"and a network that is within those has {peak:,.0f}; give a larger limit"
        )
    return found


def added_limits(limits: Mapping[str, Limit]) -> dict[str, Limit]:
    """Return the limits on costs that are sums over choices; the peak of the memory is none."""
    return {name: limit for name, limit in limits.items() if name != PEAK}


def entry_by_peak(
    space: EdgeSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> Entry:
    """Return who may race: networks within all limits, that on the peak of the memory among them.

    Args:
        space: The space.
        limits: The limits.
        costs: Counted costs.
    """
    counted = 0

    def fits(one: Architecture) -> bool:
        nonlocal counted
        if counted == _MOST_PEAKS or not within(one, added_limits(limits), costs):
            return False
        counted += 1
        return limits[PEAK].holds(count_architecture(space, one)[PEAK])

    return Entry(fits, instead=lambda rng: None)
