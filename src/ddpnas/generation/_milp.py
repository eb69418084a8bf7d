"""ZeroOneProgram: a space within limits as a 0-1 program, which HiGHS solves to a proven optimum.

The fallback for spaces whose decision diagram would be too large. One binary variable x for each
(decision, option), and one variable z for each joint choice with its own cost:

    maximize    sum of value * x
    subject to  sum of x over a decision's options = 1
                lower <= sum of weight * x <= upper              for each rule
                lower <= fixed + sum of cost * (x or z) <= upper for each limit
                z = product of its x                             as linear rows

Of the z over the same decisions at most one is 1, so that those with a choice in common add up to
at most the x of that choice, and to exactly it where every combination with it has a z (transport
rows). Binary x then leave a single value for each z, which is left continuous. The rows are few and
their relaxation is close: a table of 15,625 whole architectures has as many z, and 30 such rows.
Where products are very many, those of one decision with a sum of others get a variable y for each
option of that decision instead (:mod:`ddpnas.generation._sums`).

What limits the proof is the tolerance within which HiGHS takes a variable for whole. A choice that
is made by 1 - 1e-6 saves a millionth of its cost. With limits of millions of units that is enough
to take an architecture one unit over a limit for feasible. HiGHS finds that out in the end and does
not return it, but has dropped by then whatever is worse. So the tolerance is 1e-9 here, and costs
are divided by their common divisor. Where they are still above some 1e8 units, the same may happen:
no limit is broken, and the bound still holds, but it may be above the value.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.errors import DdpnasError
from ddpnas.generation._diagram import SAFE, Vector
from ddpnas.generation._sums import Sum, sums_of
from ddpnas.generation.limits import Limit, within
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["Solution", "ZeroOneProgram"]

Choices = tuple[tuple[str, str], ...]
Row = tuple[dict[int, float], float, float]  # column -> coefficient; lower and upper end

# HiGHS stops at an absolute gap of 1e-6; objectives are scaled up so that this means 1e-9.
_OBJECTIVE_SCALE = 1e3

_WHOLE = 1e-9  # distance from 0 or 1 at which HiGHS takes a variable for whole; by default 1e-6
_CLEAR = 2**31  # above it, the solver has called rows infeasible that can be met
_MANY_PRODUCTS = 15_000  # terms from which on products with sums are taken together


@dataclass(frozen=True)
class Solution:
    """An architecture, its value, and a bound that no architecture within the limits exceeds."""

    architecture: Architecture
    value: float
    bound: float


class ZeroOneProgram:
    """The variables and constraints of a space.

    Args:
        space: Decisions and rules.
        costs: The tables that limits may name.
        rules: Further rules.
        allowed: Which options of each decision may be chosen; all if left out.
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
        self._terms = {name: table.whole.terms for name, table in costs.items()}
        self._sums: dict[str, dict[Sum, dict[str, int]]] = {name: {} for name in costs}
        if len({key for terms in self._terms.values() for key in terms}) > _MANY_PRODUCTS:
            for name, terms in self._terms.items():
                self._terms[name], self._sums[name] = sums_of(terms, space)
        products = sorted({key for t in self._terms.values() for key in t if len(key) != 1})
        self.product = {key: len(self.column) + i for i, key in enumerate(products)}
        self.width = len(self.column) + len(products)
        self.sum: dict[Sum, dict[str, int]] = {}  # the column of each option of its decision
        for sums in self._sums.values():
            for one in sums:
                if one not in self.sum:
                    options = space[one.decision].options
                    self.sum[one] = {o: self.width + i for i, o in enumerate(options)}
                    self.width += len(options)
        self.lower, self.upper = np.zeros(self.width), np.ones(self.width)
        if allowed is not None:
            self.upper[: len(self.column)] = np.concatenate(allowed)
        for one, columns in self.sum.items():
            ends = one.ends
            self.lower[list(columns.values())] = min(0, ends[0])
            self.upper[list(columns.values())] = max(0, ends[1])

    def row(self, name: str) -> Vector:
        """Return the coefficient of each variable in a cost, without its fixed part.

        Coefficients are whole numbers of the table, divided by some number where these are large.
        """
        scale = max(1, self.costs[name].whole.largest // SAFE)
        row = np.zeros(self.width)
        for column, count in self._counts(name).items():
            row[column] = count / scale
        return row

    def _counts(self, name: str) -> dict[int, int]:
        """Return the whole number of each variable in a cost that has one."""
        counts = {
            self.column[choices[0]] if len(choices) == 1 else self.product[choices]: count
            for choices, count in self._terms[name].items()
        }
        for one, cost in self._sums[name].items():
            counts |= {self.sum[one][option]: count for option, count in cost.items()}
        return counts

    def _limit(self, name: str, limit: Limit) -> Row:
        unit, fixed = self.costs[name].whole.unit, self.costs[name].whole.fixed
        ends = unit.least(limit.lower), unit.most(limit.upper)
        return _whole_row(self._counts(name), *ends, fixed)

    def maximize(
        self,
        objective: Vector,
        limits: Mapping[str, Limit],
        without: Sequence[Mapping[str, str]] = (),
    ) -> Solution | None:
        """Return the optimum and its proof, or None when nothing is within the limits.

        Args:
            objective: A finite value for each option, followed by one for each product or none.
            limits: Cost name -> limit.
            without: Choices that must not all be made together, any number of times.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import vstack

        objective = np.pad(objective, (0, self.width - len(objective)))
        rows = [self._limit(name, one) for name, one in limits.items()]
        rows += [self._cut(choices) for choices in without]
        while True:
            matrix, lower, upper = self._structure
            if rows:
                further, low, up = self._sparse(rows)
                matrix = vstack([matrix, further], format="csr")
                lower, upper = np.concatenate([lower, low]), np.concatenate([upper, up])
            with warnings.catch_warnings():
                # SciPy hands options that it does not know to HiGHS, and warns of it.
                warnings.filterwarnings("ignore", message="Unrecognized options detected")
                options: Any = {"mip_rel_gap": 0.0, "mip_feasibility_tolerance": _WHOLE}
                result: Any = milp(
                    -objective * _OBJECTIVE_SCALE,
                    integrality=(np.arange(self.width) < len(self.column)).astype(np.int64),
                    bounds=Bounds(self.lower, self.upper),
                    constraints=LinearConstraint(matrix, lower, upper),
                    options=options,
                )
            if result.status == 2:  # infeasible
                return None
            if result.x is None:
                raise DdpnasError(f"the solver gave up: {result.message}")
            architecture = self._read(result.x)
            # The solver works within tolerances; whether the limits hold is decided exactly.
            if within(architecture, limits, self.costs) and all(
                rule.holds(architecture) for rule in self.rules
            ):
                value = float(objective @ self._indicator(architecture))
                bound = max(value, -float(result.mip_dual_bound) / _OBJECTIVE_SCALE)
                return Solution(architecture, value, bound)
            rows.append(self._cut(architecture))  # forbid exactly this one, and try again

    @functools.cached_property
    def _structure(self) -> tuple[Any, Vector, Vector]:
        """The constraints that hold whatever the limits are: a sparse matrix and its two ends."""
        rows: list[Row] = []
        for decision in self.space.decisions:
            columns = [self.column[decision.name, option] for option in decision.options]
            rows.append((dict.fromkeys(columns, 1.0), 1.0, 1.0))
        for rule in self.rules:
            weights, lower, upper = rule.whole
            rows.append(_whole_row({self.column[p]: w for p, w in weights.items()}, lower, upper))
        groups: dict[tuple[str, ...], list[Choices]] = {}
        for choices in self.product:
            groups.setdefault(tuple(name for name, _ in choices), []).append(choices)
        for names, group in groups.items():
            rows += self._product_rows(names, group)
        for one, places in self.sum.items():
            # y = S x: those of all options add up to the sum S, and only the chosen one is not 0.
            row = {self.column[pair]: -float(weight) for pair, weight in one.weights}
            rows.append(({**row, **dict.fromkeys(places.values(), 1.0)}, 0.0, 0.0))
            least, most = one.ends
            for option, column in places.items():
                x = self.column[one.decision, option]
                rows.append(({column: 1.0, x: -float(least)}, 0.0, np.inf))
                rows.append(({column: 1.0, x: -float(most)}, -np.inf, 0.0))
        return self._sparse(rows)

    def _product_rows(self, names: Sequence[str], group: Sequence[Choices]) -> Iterator[Row]:
        """Yield the rows that make each product of choices of these decisions what it is."""
        every = math.prod(len(self.space[name].options) for name in names)
        sharing: dict[tuple[str, str], list[Choices]] = {}
        for choices in group:
            for pair in choices:
                sharing.setdefault(pair, []).append(choices)
        settled: set[Choices] = set()
        for pair, products in sharing.items():
            whole = len(products) == every // len(self.space[pair[0]].options)
            if whole:
                settled.update(products)
            row = dict.fromkeys((self.product[choices] for choices in products), 1.0)
            yield {**row, self.column[pair]: -1.0}, 0.0 if whole else -np.inf, 0.0
        for choices in group:
            if choices not in settled:  # z >= x1 + ... + xk - (k - 1)
                factors = dict.fromkeys((self.column[pair] for pair in choices), -1.0)
                yield {self.product[choices]: 1.0, **factors}, 1.0 - len(factors), np.inf

    def _sparse(self, rows: Sequence[Row]) -> tuple[Any, Vector, Vector]:
        """Return the rows as a sparse matrix, and their lower and upper ends."""
        from scipy.sparse import csr_array

        starts = np.cumsum([0, *(len(row) for row, _, _ in rows)])
        columns = [column for row, _, _ in rows for column in row]
        values = [value for row, _, _ in rows for value in row.values()]
        matrix = csr_array((values, columns, starts), shape=(len(rows), self.width))
        matrix.eliminate_zeros()
        return matrix, np.array([low for _, low, _ in rows]), np.array([up for _, _, up in rows])

    def _cut(self, choices: Mapping[str, str]) -> Row:
        """Return the row that forbids to make all these choices together."""
        columns = [self.column[pair] for pair in choices.items()]
        return dict.fromkeys(columns, 1.0), -np.inf, len(columns) - 1.0

    def _read(self, x: Vector) -> Architecture:
        choices = {}
        for decision in self.space.decisions:
            at = [x[self.column[(decision.name, option)]] for option in decision.options]
            choices[decision.name] = decision.options[int(np.argmax(at))]
        return Architecture(choices)

    def _indicator(self, architecture: Architecture) -> Vector:
        """Return the variables of an architecture, each 0 or 1."""
        x = np.zeros(self.width)
        x[[self.column[pair] for pair in architecture.items()]] = 1.0
        for choices, column in self.product.items():
            x[column] = all(architecture[decision] == option for decision, option in choices)
        for one, columns in self.sum.items():
            x[columns[architecture[one.decision]]] = sum(
                weight for (name, option), weight in one.weights if architecture[name] == option
            )
        return x


def _whole_row(counts: Mapping[int, int], lower: float, upper: float, fixed: int = 0) -> Row:
    """Return whole numbers as a row scaled such that the solver's tolerance (1e-6) blurs little.

    They are divided by their greatest common divisor and compared half a unit beyond the ends,
    which no sum can reach. Where they are too large for that, the largest becomes 1.
    """
    divisor = math.gcd(*counts.values()) or 1
    lower = lower if abs(lower) == math.inf else -((fixed - int(lower)) // divisor)
    upper = upper if abs(upper) == math.inf else (int(upper) - fixed) // divisor
    most = max((abs(count) // divisor for count in counts.values()), default=1) or 1
    spare, scale = (0.5, 1) if most < _CLEAR else (0.0, most)
    beyond = scale << 60  # no row comes near, and the solver takes it for a number
    lower, upper = (
        end if abs(end) == math.inf else max(-beyond, min(end, beyond)) / scale
        for end in (lower, upper)
    )
    row = {column: (count // divisor) / scale for column, count in counts.items() if count}
    return row, lower - spare, upper + spare
