"""generate(): the most likely architecture within limits, exactly, by integer programming.

The authors' generator maximises the sum of theta over the decisions by dynamic programming over
weights rounded to two decimals. Here the problem is stated as it is,

    maximise    sum over the choices of log theta        (or of theta)
    subject to  one option a decision, every rule of the space, every limit on a cost,

and solved by HiGHS (``scipy.optimize.milp``) to a proven optimum. What comes back carries the
certificate, and what cannot be met is answered with the least that can.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ddpnas.architecture import Architecture, DecisionSpace
from ddpnas.cost_table import CostTable
from ddpnas.distribution import JointDistribution
from ddpnas.errors import DdpnasError, InfeasibleError, OptionError, nearest

__all__ = ["Certificate", "Generated", "generate", "least_cost", "sample_within"]

Limit = float | tuple[float, float]
Vector = npt.NDArray[np.float64]

# HiGHS stops at an absolute gap of 1e-6; objectives are scaled up so that this means 1e-9.
_OBJECTIVE_SCALE = 1e3


@dataclass(frozen=True)
class Certificate:
    """The solver's proof: the value reached, and a bound that no architecture can exceed.

    ``gap`` is their difference relative to the value, 0 for a proven optimum.
    """

    objective: float
    bound: float
    gap: float
    seconds: float


@dataclass(frozen=True)
class Generated:
    """An architecture and what it was chosen for.

    Attributes:
        architecture: the optimum.
        objective: "log_theta" or "theta", whose sum was maximised.
        log_prob: natural logarithm of the architecture's probability.
        costs: value of every cost table given.
        slack: what is left of each upper limit (limit - cost; never negative).
        certificate: of optimality.
    """

    architecture: Architecture
    objective: str
    log_prob: float
    costs: dict[str, float]
    slack: dict[str, float]
    certificate: Certificate


def generate(
    distribution: JointDistribution,
    space: DecisionSpace,
    limits: Mapping[str, Limit] | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Literal["log_theta", "theta"] = "log_theta",
    survivors_only: bool = False,
) -> Generated:
    """Return the provably most likely architecture whose costs are all within the limits.

    Args:
        distribution: what a search learned; pruned options take part with the probability that
            they kept, unless ``survivors_only``.
        space: the decisions and rules.
        limits: cost name -> upper limit, or (lower, upper), both inclusive, in the unit of the
            table.
        costs: cost name -> table; one for every limit, further ones are only reported.
        objective: maximise the sum of log theta (the likelihood) or the sum of theta (as the
            authors' generator does). Under log theta an option of probability 0 is chosen only
            where nothing else is within the limits, and as few of them as possible.
        survivors_only: leave pruned options out.

    Raises:
        InfeasibleError: with the least reachable value of the limit that cannot be met.
        OptionError: a limit without a cost table, or one that is no range.
    """
    costs = dict(costs or {})
    bounds = _check_limits(limits or {}, costs)
    allowed = np.concatenate(distribution.alive) if survivors_only else None
    problem = _Problem(space, costs, allowed)
    if objective == "log_theta":
        values = [_log_values(row, len(distribution.rows)) for row in distribution.rows]
    else:
        values = list(distribution.rows)
    solved = problem.maximise(np.concatenate(values), bounds)
    if solved is None:
        raise InfeasibleError(_why_infeasible(problem, bounds))
    architecture = solved.architecture
    reached = {name: table.cost(architecture) for name, table in costs.items()}
    return Generated(
        architecture=architecture,
        objective=objective,
        log_prob=distribution.log_prob(architecture),
        costs=reached,
        slack={name: upper - reached[name] for name, (_, upper) in bounds.items()},
        certificate=solved.certificate,
    )


def least_cost(space: DecisionSpace, table: CostTable) -> tuple[Architecture, float]:
    """Return the architecture of the lowest cost that obeys the rules, and that cost."""
    problem = _Problem(space, {table.name: table})
    solved = problem.maximise(-problem.row(table), {})
    if solved is None:
        raise InfeasibleError("no architecture obeys the rules of the space")
    return solved.architecture, table.cost(solved.architecture)


def sample_within(
    space: DecisionSpace,
    limits: Mapping[str, Limit],
    costs: Mapping[str, CostTable],
    rng: np.random.Generator,
    tries: int = 2_000,
) -> Architecture:
    """Return a random architecture within the limits.

    Uniform among those within the limits as long as one of ``tries`` uniform draws is; where
    the limits are that tight, the optimum of a random objective instead (always within the
    limits, but no longer uniform).

    Raises:
        InfeasibleError: no architecture is within the limits.
    """
    bounds = _check_limits(limits, costs)
    for _ in range(tries):
        architecture = space.sample(rng)
        if _within(architecture, bounds, costs):
            return architecture
    rows = tuple(rng.dirichlet(np.ones(len(d.options))) for d in space.decisions)
    uniform = JointDistribution.uniform(space.decisions)
    return generate(uniform.with_rows(rows), space, limits, costs).architecture


def _within(
    architecture: Architecture,
    bounds: Mapping[str, tuple[float, float]],
    costs: Mapping[str, CostTable],
) -> bool:
    return all(low <= costs[name].cost(architecture) <= up for name, (low, up) in bounds.items())


def _check_limits(
    limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> dict[str, tuple[float, float]]:
    bounds = {}
    for name, limit in limits.items():
        if name not in costs:
            raise OptionError(nearest("limit", name, costs))
        low, up = limit if isinstance(limit, tuple) else (-math.inf, limit)
        if not low <= up or math.isnan(low + up if math.isfinite(low) else up):
            raise OptionError(f"the limit on {name} is no range: from {low} to {up}")
        bounds[name] = (float(low), float(up))
    return bounds


def _log_values(row: Vector, decisions: int) -> Vector:
    """Return log theta, zeros replaced by a penalty larger than all else can gain together."""
    positive = np.log(row[row > 0])
    span = -np.log(np.finfo(np.float64).tiny) if positive.size == 0 else -positive.min()
    values = np.full(row.shape, -(span + 50.0) * decisions)
    values[row > 0] = positive
    return values


@dataclass(frozen=True)
class _Solution:
    architecture: Architecture
    certificate: Certificate


class _Problem:
    """The 0-1 programme of a space: one binary a (decision, option), one a product of choices.

    ``allowed`` says, option by option in the order of decisions, which may be chosen at all.
    """

    def __init__(
        self,
        space: DecisionSpace,
        costs: Mapping[str, CostTable],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.space = space
        self.costs = costs
        for table in costs.values():
            table.check(space)
        pairs = [(d.name, option) for d in space.decisions for option in d.options]
        self.column = {pair: i for i, pair in enumerate(pairs)}
        products = sorted({k for t in costs.values() for k in t.terms if len(k) > 1})
        self.product = {pairs: len(self.column) + i for i, pairs in enumerate(products)}
        self.width = len(self.column) + len(products)
        self.upper = np.ones(self.width)
        if allowed is not None:
            self.upper[: len(allowed)] = allowed

    def row(self, table: CostTable) -> Vector:
        """Return the coefficients of a cost, without its fixed part."""
        row = np.zeros(self.width)
        for pairs, cost in table.terms.items():
            row[self.column[pairs[0]] if len(pairs) == 1 else self.product[pairs]] += cost
        return row

    def maximise(
        self, objective: Vector, bounds: Mapping[str, tuple[float, float]]
    ) -> _Solution | None:
        """Return the optimum and its proof, or None when infeasible.

        ``objective`` has a finite value an option, and may leave out the products.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        started = time.perf_counter()
        objective = np.pad(objective, (0, self.width - len(objective)))
        constraints = self._structure()
        for name, (low, up) in bounds.items():
            constraints.append(_limit_row(self.row(self.costs[name]), self.costs[name], low, up))
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
            if _within(architecture, bounds, self.costs) and all(
                rule.holds(architecture) for rule in self.space.rules
            ):
                value = float(objective @ self._indicator(architecture))
                bound = max(value, -float(result.mip_dual_bound) / _OBJECTIVE_SCALE)
                gap = (bound - value) / max(1e-9, abs(value))
                seconds = time.perf_counter() - started
                return _Solution(architecture, Certificate(value, bound, gap, seconds))
            # Within the solver's tolerance but outside the limits: forbid exactly this one.
            cut = self._indicator(architecture)
            cut[len(self.column) :] = 0.0
            constraints.append((cut, -np.inf, len(architecture) - 1.0))

    def _structure(self) -> list[tuple[Vector, float, float]]:
        rows: list[tuple[Vector, float, float]] = []
        for decision in self.space.decisions:
            row = np.zeros(self.width)
            row[[self.column[(decision.name, option)] for option in decision.options]] = 1.0
            rows.append((row, 1.0, 1.0))
        for rule in self.space.rules:
            row = np.zeros(self.width)
            for pair, weight in rule.weights.items():
                row[self.column[pair]] = weight
            rows.append((row, rule.lower, rule.upper))
        for pairs, column in self.product.items():  # z = x1 x2 ... as linear inequalities
            row = np.zeros(self.width)
            row[column] = 1.0
            row[[self.column[pair] for pair in pairs]] = -1.0
            rows.append((row, 1.0 - len(pairs), np.inf))
            for pair in pairs:
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


def _limit_row(row: Vector, table: CostTable, low: float, up: float) -> tuple[Vector, float, float]:
    """Return a limit as a row scaled such that the solver's tolerance (1e-6) does not blur it.

    Integer costs are divided by their greatest common divisor and compared half a unit beyond
    the limit, which no architecture can reach; others are scaled to largest coefficient 1.
    """
    low, up = low - table.fixed, up - table.fixed
    if np.all(row == np.round(row)) and np.any(row) and float(table.fixed).is_integer():
        divisor = float(np.gcd.reduce(np.abs(row).astype(np.int64)))
        low = math.ceil(low / divisor) - 0.5 if math.isfinite(low) else low
        up = math.floor(up / divisor) + 0.5 if math.isfinite(up) else up
        return row / divisor, low, up
    scale = float(np.abs(row).max()) or 1.0
    return row / scale, low / scale, up / scale


def _why_infeasible(problem: _Problem, bounds: Mapping[str, tuple[float, float]]) -> str:
    """Return the sentence that names the limit that cannot be met and the least reachable."""
    nothing = "no architecture obeys the rules of the space"
    for name, (low, up) in bounds.items():
        table = problem.costs[name]
        for sign, limit, relation, word in ((1, up, "<=", "least"), (-1, low, ">=", "most")):
            solved = problem.maximise(-sign * problem.row(table), {})
            if solved is None:
                return nothing
            reachable = table.cost(solved.architecture)
            if sign * reachable > sign * limit:
                return (
                    f"the limit {name} {relation} {_amount(limit)} cannot be met: the {word} "
                    f"reachable is {_amount(reachable)} {table.unit}, by "
                    f"{problem.space.format(solved.architecture)}"
                )
    if not bounds:
        return nothing
    listed = " and ".join(
        f"{name} between {_amount(low)} and {_amount(up)}"
        if math.isfinite(low)
        else f"{name} <= {_amount(up)}"
        for name, (low, up) in bounds.items()
    )
    first, *others = bounds
    solved = problem.maximise(-problem.row(problem.costs[first]), {n: bounds[n] for n in others})
    together = f"{listed} cannot be met together, although each end alone can"
    if solved is None or not others:
        return together
    least = problem.costs[first].cost(solved.architecture)
    return (
        f"{together}; with the others met, the least reachable {first} is {_amount(least)} "
        f"{problem.costs[first].unit}, by {problem.space.format(solved.architecture)}"
    )


def _amount(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
