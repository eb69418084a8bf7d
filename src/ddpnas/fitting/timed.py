"""Limits in milliseconds of a fit: the latency table for a race, and who may enter it."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.latency import measure_latency
from ddpnas.costs.latency_check import time_network
from ddpnas.costs.network import count_architecture
from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError, OptionError, nearest
from ddpnas.fitting.candidates import Entry, draws
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, tightened_limits, within
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import SIZED_BY, EdgeSpace
from ddpnas.utils.duration import duration

__all__ = ["TimedLimits", "split_limits"]

LATENCY = "latency_ms"
_ANCHORS = ("resnet-9", "residual")  # designs that are timed whole for the table,
_SHARES = (1.0, 0.4)  # with these shares of the multiply-adds that the space is for
_SMALLER = (0.8, 0.95)  # by which a design that is too slow is scaled down, again and again,
_CLOSE = 0.97  # to this share of the limit

QUICK = LatencyConfig(architectures=12, seconds=0.05, rounds=2, most_rounds=3)


def split_limits(limits: Mapping[str, Limit]) -> tuple[dict[str, Limit], dict[str, Limit]]:
    """Return the limits on what can be counted, and those on milliseconds.

    Raises:
        OptionError: A limit is on another cost, or that on milliseconds has no upper end.
    """
    for name in limits:
        if name not in (*SIZED_BY, LATENCY):
            raise OptionError(
                f"{nearest('cost', name, (*SIZED_BY, LATENCY))}; for a cost of your own, search "
                f"with `ddpnas search`, then give its table to `ddpnas generate`"
            )
    if LATENCY in limits and math.isinf(limits[LATENCY].upper):
        raise OptionError(
            f"{LATENCY} {limits[LATENCY].describe()} does not say how large networks may be; give "
            f"an upper end too, such as {LATENCY}=3"
        )
    counted = {name: limit for name, limit in limits.items() if name != LATENCY}
    return counted, {name: limit for name, limit in limits.items() if name == LATENCY}


@dataclass(frozen=True)
class TimedLimits:
    """A limit on milliseconds with what says how many a network takes.

    Attributes:
        space: The space.
        limits: The limit; with a table tightened by its margin.
        table: The latency table of the space. None: networks are timed whole, each of them once.
    """

    space: EdgeSpace
    limits: Mapping[str, Limit]
    table: CostTable | None = None
    _timed: dict[Architecture, float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def measured(
        cls,
        space: EdgeSpace,
        macs: float,
        limits: Mapping[str, Limit],
        seconds: float,
        tell: Callable[[str], object],
    ) -> Self:
        """Return the limit with a table that is measured now.

        It is fitted to networks such as race. Random ones of the space are deeper, and by a fit to
        these a standard design seemed to take half as long again as it does.

        Args:
            space: The space.
            macs: Multiply-adds of the largest networks that may race, about.
            limits: The limit.
            seconds: How long measuring may take, about.
            tell: Takes lines of text.
        """
        table = measure_latency(space, QUICK, networks=_whole(space, macs), minutes=seconds / 60)
        found = table.about["interpolation"]
        tell(
            f"measured {found['timed']} of {found['operations']} operations in about "
            f"{duration(seconds)}; limits keep a margin of {100 * table.margin:.0f} %"
        )
        return cls(space, tightened_limits(limits, {LATENCY: table}), table)

    def milliseconds(self, architecture: Architecture) -> float:
        """Return the milliseconds of a network for one image, on one thread."""
        if self.table is not None:
            return self.table.cost(architecture)
        if architecture not in self._timed:
            self._timed[architecture] = time_network(self.space, architecture, QUICK)["median_ms"]
        return self._timed[architecture]

    def design(self, name: str, limits: Mapping[str, Limit]) -> Architecture:
        """Return a standard design as large as all limits allow.

        Args:
            name: Its name.
            limits: Limits on counted costs.

        Raises:
            InfeasibleError: No network of the design is within the limits.
        """
        allowed, timed = limits.get("macs", Limit()), self.limits[LATENCY]
        found = self.space.scaled(name, limits)
        while (took := self.milliseconds(found)) > timed.upper:
            # Part of the time does not depend on the multiply-adds, so these have to fall faster.
            share = np.clip((_CLOSE * timed.upper / took) ** 1.5, *_SMALLER)
            macs = float(int(share * count_architecture(self.space, found)["macs"]))
            try:
                tighter = {**limits, "macs": Limit(min(allowed.lower, macs), macs)}
                found = self.space.scaled(name, tighter)
            except InfeasibleError as error:
                raise InfeasibleError(
                    f"latency_ms has to be {timed.describe()}{self._without_margin}, but the "
                    f"smallest {name} network tried takes {took:.3g} ms here"
                ) from error
        if took < timed.lower:
            raise InfeasibleError(
                f"latency_ms has to be {timed.describe()}{self._without_margin}, but the largest "
                f"{name} network within the other limits takes {took:.3g} ms here"
            )
        return found

    @property
    def _without_margin(self) -> str:
        return "" if self.table is None else ", without the margin of the table"

    def entry(self, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]) -> Entry:
        """Return who may race: networks within all limits.

        Args:
            limits: All limits that they have to meet.
            costs: Counted costs.
        """
        assert self.table is not None
        tables = {**costs, LATENCY: self.table}
        return Entry(
            fits=lambda one: within(one, limits, tables),
            instead=lambda rng: sample_within(self.space, limits, tables, rng, margin=0.0),
        )


def _whole(space: EdgeSpace, macs: float) -> list[Architecture]:
    """Return networks to fit the table to: such as race, of the sizes that may be chosen.

    Args:
        space: The space.
        macs: Multiply-adds of the largest.
    """
    found = []
    for name in _ANCHORS:
        for share in _SHARES:
            with contextlib.suppress(InfeasibleError):
                found.append(space.scaled(name, {"macs": share * macs}))
    table, missing = count_costs(space)["macs"], QUICK.architectures - len(found)
    drawn = draws(space, np.random.default_rng(0))
    near = (one for one in drawn if min(_SHARES) * macs <= table.cost(one) <= macs)
    return [*found, *itertools.islice(near, missing)]
