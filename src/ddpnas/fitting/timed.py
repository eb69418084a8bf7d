"""Limits in milliseconds of a fit: how large the space is, its latency table, and who may race."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.latency import measure_latency
from ddpnas.costs.latency_check import time_network
from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError, OptionError, nearest
from ddpnas.fitting.candidates import Entry, draws
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, tightened_limits, within
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import SIZED_BY, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.utils.duration import duration

__all__ = ["TimedLimits", "split_limits"]

LATENCY = "latency_ms"
_MACS = Limit(1e5, 4e9)  # range of the multiply-adds without a limit on them
_GUESSES = ("4M", "1M")  # multiply-adds of the two networks that are timed to size the space
_ANCHORS = ("resnet-9", "residual")  # designs that are timed whole for the table,
_SHARES = (1.0, 0.4)  # with these shares of the multiply-adds that the space is for
_ROOM = 2.0  # by which the space is larger than two timings say; its table then says what fits
_SMALLER = 0.8  # by which a design that is too slow is scaled down, again and again

QUICK = LatencyConfig(architectures=12, seconds=0.05, rounds=2, most_rounds=3)


def split_limits(limits: Mapping[str, Limit]) -> tuple[dict[str, Limit], dict[str, Limit]]:
    """Return the limits on what can be counted, and those on milliseconds.

    Raises:
        OptionError: A limit is on another cost.
    """
    for name in limits:
        if name not in (*SIZED_BY, LATENCY):
            raise OptionError(
                f"{nearest('cost', name, (*SIZED_BY, LATENCY))}; for a cost of your own, search "
                f"with `ddpnas search`, then give its table to `ddpnas generate`"
            )
    counted = {name: limit for name, limit in limits.items() if name != LATENCY}
    return counted, {name: limit for name, limit in limits.items() if name == LATENCY}


@dataclass(frozen=True)
class TimedLimits:
    """A limit on milliseconds with the table that predicts them.

    Attributes:
        table: The latency table of the space.
        limits: The limit, tightened by the margin of the table.
    """

    table: CostTable
    limits: Mapping[str, Limit]

    @staticmethod
    def sizes(
        fitting: Mapping[str, Any], counted: Mapping[str, Limit], timed: Mapping[str, Limit]
    ) -> dict[str, Limit]:
        """Return limits on counted costs by which the space suits the milliseconds, too.

        A residual network of two sizes is timed, and a line through both tells the multiply-adds.

        Args:
            fitting: Classes and input shape of the space.
            counted: The limits that are asked for.
            timed: The limit on milliseconds.

        Raises:
            OptionError: It has no upper end.
        """
        if math.isinf(timed[LATENCY].upper):
            raise OptionError(
                f"{LATENCY} {timed[LATENCY].describe()} does not say how large networks may be; "
                f"give an upper end too, such as {LATENCY}=3"
            )
        guess = {"macs": _GUESSES[0]}
        space = cast(EdgeSpace, create_space("edge", **fitting, limits=guess))
        macs, times = [], []
        for text in _GUESSES:
            architecture = space.scaled("residual", {"macs": text})
            macs.append(Limit.parse(text).upper)
            times.append(time_network(space, architecture, QUICK)["median_ms"])
        each = max((times[0] - times[1]) / (macs[0] - macs[1]), 0.1 * times[0] / macs[0])
        wanted = _ROOM * (macs[0] + (timed[LATENCY].upper - times[0]) / each)
        given = counted.get("macs", _MACS)
        upper = min(max(float(round(wanted, -3)), _MACS.lower, given.lower), given.upper)
        return {**counted, "macs": Limit(counted.get("macs", Limit()).lower, upper)}

    @classmethod
    def measured(
        cls,
        space: EdgeSpace,
        sizes: Mapping[str, Limit],
        limits: Mapping[str, Limit],
        seconds: float,
        tell: Callable[[str], object],
    ) -> Self:
        """Return the limit with a table that is measured now.

        It is fitted to networks such as race. Random ones of the space are deeper, and by a fit to
        these a standard design seemed to take half as long again as it does.

        Args:
            space: The space.
            sizes: Limits on counted costs that the space was made for.
            limits: The limit.
            seconds: How long measuring may take, about.
            tell: Takes lines of text.
        """
        table = measure_latency(
            space, QUICK, networks=_whole(space, sizes["macs"].upper), minutes=seconds / 60
        )
        found = table.about["interpolation"]
        tell(
            f"measured {found['timed']} of {found['operations']} operations in about "
            f"{duration(seconds)}; limits keep a margin of {100 * table.margin:.0f} %"
        )
        return cls(table, tightened_limits(limits, {LATENCY: table}))

    def design(self, space: EdgeSpace, name: str, limits: Mapping[str, Limit]) -> Architecture:
        """Return a standard design as large as all limits allow.

        Args:
            space: The space.
            name: Its name.
            limits: Limits on counted costs, that on multiply-adds among them.

        Raises:
            InfeasibleError: No network of the design is within the limits.
        """
        lower, macs, least = limits["macs"].lower, limits["macs"].upper, math.inf
        while True:
            try:
                found = space.scaled(name, {**limits, "macs": Limit(min(lower, macs), macs)})
            except InfeasibleError as error:
                if least == math.inf:
                    raise
                raise InfeasibleError(
                    f"latency_ms has to be {self.limits[LATENCY].describe()}, without the margin "
                    f"of the table, but the smallest {name} network tried takes {least:.3g} ms here"
                ) from error
            if within(found, self.limits, {LATENCY: self.table}):
                return found
            least = self.table.cost(found)
            macs *= _SMALLER

    def entry(
        self, space: EdgeSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
    ) -> Entry:
        """Return who may race: networks within all limits.

        Args:
            space: The space.
            limits: All limits that they have to meet.
            costs: Counted costs.
        """
        tables = {**costs, LATENCY: self.table}
        return Entry(
            fits=lambda one: within(one, limits, tables),
            instead=lambda rng: sample_within(space, limits, tables, rng, margin=0.0),
        )


def _whole(space: EdgeSpace, macs: float) -> list[Architecture]:
    """Return networks to fit the table to: such as race, of the sizes that may be chosen.

    Args:
        space: The space.
        macs: Multiply-adds that it is for.
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
