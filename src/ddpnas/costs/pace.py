"""Pace: how many seconds an epoch of training takes, by the costs that can be counted.

Two networks of equal multiply-adds may differ threefold in how fast they train: narrow layers at
high resolution move much memory for few of them. A race gives all networks about the same time, so
it needs to know before it trains them. A sum of counted costs says that well enough, and is the
same in every session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest

__all__ = ["EPOCH_SECONDS", "Pace"]

EPOCH_SECONDS = "epoch_seconds"  # a cost like others where a pace is known


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch as a sum of counted costs.

    Attributes:
        seconds: Cost name -> seconds for each unit of it; "" for what every network takes.

    Example:
        >>> pace = Pace.fitted([{"macs": 1e6}, {"macs": 2e6}], [3.0, 5.0])
        >>> round(pace.of({"macs": 4e6}), 6)
        9.0
    """

    seconds: Mapping[str, float]

    @classmethod
    def fitted(cls, costs: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> Pace:
        """Return the pace of measured networks, by non-negative least squares of relative errors.

        Args:
            costs: The counted costs of each network, all of the same names.
            seconds: What an epoch of each took.
        """
        names = sorted(costs[0])
        rows = np.array([[*(c[name] for name in names), 1.0] for c in costs])
        scale = rows.max(axis=0)  # costs are of very different size
        found, _ = nnls(rows / scale / np.array(seconds)[:, None], np.ones(len(seconds)))
        each = (found / scale).tolist()
        return cls({name: s for name, s in zip([*names, ""], each, strict=True) if s > 0})

    def of(self, costs: Mapping[str, float]) -> float:
        """Return the seconds of an epoch of a network with these costs."""
        return sum(s * (costs[name] if name else 1.0) for name, s in self.seconds.items())

    def table(self, costs: Mapping[str, CostTable]) -> CostTable:
        """Return the seconds as a cost table, named ``epoch_seconds``.

        Args:
            costs: The counted costs of a space.

        Raises:
            OptionError: The pace names a cost that has no table.

        Example:
            >>> macs = CostTable("macs", "MACs", 10, {(("op", "conv"),): 90})
            >>> Pace({"macs": 0.01, "": 2.0}).table({"macs": macs}).cost({"op": "conv"})
            3.0
        """
        if strange := sorted(set(self.seconds) - {"", *costs}):
            raise OptionError(nearest("cost of a pace", strange[0], costs))
        fixed = self.seconds.get("", 0.0)
        terms: dict[tuple[tuple[str, str], ...], float] = {}
        for name, each in self.seconds.items():
            if name:
                fixed += each * costs[name].fixed
                for choices, cost in costs[name].terms.items():
                    terms[choices] = terms.get(choices, 0.0) + each * cost
        return CostTable(EPOCH_SECONDS, "s", fixed, terms)
