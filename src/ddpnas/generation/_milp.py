"""Programme: a space within limits as a 0-1 programme, solved by HiGHS to a proven optimum.

One binary a (decision, option), one more a product of choices that has a joint cost:

    maximise    the sum of the values of the choices
    subject to  one option a decision, every rule, every limit on a cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.errors import DdpnasError
from ddpnas.generation.limits import Limit, within
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["Programme", "Solution"]

Vector = npt.NDArray[np.float64]
Row = tuple[Vector, float, float]

# HiGHS stops at an absolute gap of 1e-6; objectives are scaled up so that this means 1e-9.
_OBJECTIVE_SCALE = 1e3


@dataclass(frozen=True)
class Solution:
    """An architecture, its value, and a bound that no architecture within the limits exceeds."""

    architecture: Architecture
    value: float
    bound: float


class Programme:
    """The constraints of a space.

    Args:
        space: decisions and rules.
        costs: the tables that limits may name.
        rules: further rules.
        allowed: which options of each decision may be chosen; all if left out.
    """

    def __init__(
        self,
        space: DecisionSpace,
        costs: Mapping[str, CostTable],
        rules: Sequence[Rule] = (),
        allowed: Sequence[npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self.space = space
        self.costs = costs
        self.rules = (*space.rules, *rules)
        pairs = [(d.name, option) for d in space.decisions for option in d.options]
        self.column = {pair: i for i, pair in enumerate(pairs)}
        products = sorted({k for t in costs.values() for k in t.terms if len(k) != 1})
        self.product = {pairs: len(self.column) + i for i, pairs in enumerate(products)}
        self.width = len(self.column) + len(products)
        self.upper = np.ones(self.width)
        if allowed is not None:
            self.upper[: len(self.column)] = np.concatenate(allowed)

    def row(self, table: CostTable) -> Vector:
        """Return the coefficients of a cost, without its fixed part."""
        row = np.zeros(self.width)
        for pairs, cost in table.terms.items():
            row[self.column[pairs[0]] if len(pairs) == 1 else self.product[pairs]] += cost
        return row

    def maximise(
        self,
        objective: Vector,
        limits: Mapping[str, Limit],
        without: Sequence[Mapping[str, str]] = (),
    ) -> Solution | None:
        """Return the optimum and its proof, or None when nothing is within the limits.

        Args:
            objective: a finite value an option; may leave out the products.
            limits: cost name -> limit.
            without: choices that may not be made all together, any number of times.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        objective = np.pad(objective, (0, self.width - len(objective)))
        constraints = self._structure()
        for name, limit in limits.items():
            constraints.append(_limit_row(self.row(self.costs[name]), self.costs[name], limit))
        for choices in without:
            cut = np.zeros(self.width)
            cut[[self.column[pair] for pair in choices.items()]] = 1.0
            constraints.append((cut, -np.inf, len(choices) - 1.0))
        while True:
            result: Any = milp(
                -objective * _OBJECTIVE_SCALE,
                integrality=np.ones(self.width, dtype=np.int64),
                bounds=Bounds(np.zeros(self.width), self.upper),
                constraints=[LinearConstraint(row, low, up) for row, low, up in constraints],
                options={"mip_rel_gap": 0.0},
            )
            if result.status == 2:  # infeasible
                return None
            if result.x is None:
                raise DdpnasError(f"the solver gave up: {result.message}")
            architecture = self._read(result.x)
            if within(architecture, limits, self.costs) and all(
                rule.holds(architecture) for rule in self.rules
            ):
                value = float(objective @ self._indicator(architecture))
                bound = max(value, -float(result.mip_dual_bound) / _OBJECTIVE_SCALE)
                return Solution(architecture, value, bound)
            # Within the solver's tolerance but outside the limits: forbid exactly this one.
            cut = self._indicator(architecture)
            cut[len(self.column) :] = 0.0
            constraints.append((cut, -np.inf, len(architecture) - 1.0))

    def _structure(self) -> list[Row]:
        rows: list[Row] = []
        for decision in self.space.decisions:
            row = np.zeros(self.width)
            row[[self.column[(decision.name, option)] for option in decision.options]] = 1.0
            rows.append((row, 1.0, 1.0))
        for rule in self.rules:
            row = np.zeros(self.width)
            for pair, weight in rule.weights.items():
                row[self.column[pair]] = weight
            rows.append((row, rule.lower, rule.upper))
        for pairs, column in self.product.items():  # z = x1 x2 ... as linear inequalities
            distinct = set(pairs)
            row = np.zeros(self.width)
            row[column] = 1.0
            row[[self.column[pair] for pair in distinct]] = -1.0
            rows.append((row, 1.0 - len(distinct), np.inf))
            for pair in distinct:
                row = np.zeros(self.width)
                row[column], row[self.column[pair]] = 1.0, -1.0
                rows.append((row, -np.inf, 0.0))
        return rows

    def _read(self, x: Vector) -> Architecture:
        choices = {}
        for decision in self.space.decisions:
            at = [x[self.column[(decision.name, option)]] for option in decision.options]
            choices[decision.name] = decision.options[int(np.argmax(at))]
        return Architecture(choices)

    def _indicator(self, architecture: Architecture) -> Vector:
        x = np.zeros(self.width)
        x[[self.column[pair] for pair in architecture.items()]] = 1.0
        for pairs, column in self.product.items():
            x[column] = all(architecture[decision] == option for decision, option in pairs)
        return x


def _limit_row(row: Vector, table: CostTable, limit: Limit) -> Row:
    """Return a limit as a row scaled such that the solver's tolerance (1e-6) does not blur it.

    Integer costs are divided by their greatest common divisor and compared half a unit beyond
    the limit, which no architecture can reach; others are scaled to largest coefficient 1.
    """
    low, up = limit.lower - table.fixed, limit.upper - table.fixed
    if np.all(row == np.round(row)) and np.any(row) and float(table.fixed).is_integer():
        divisor = float(np.gcd.reduce(np.abs(row).astype(np.int64)))
        low = math.ceil(low / divisor) - 0.5 if math.isfinite(low) else low
        up = math.floor(up / divisor) + 0.5 if math.isfinite(up) else up
        return row / divisor, low, up
    scale = float(np.abs(row).max()) or 1.0
    return row / scale, low / scale, up / scale
