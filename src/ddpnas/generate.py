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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnas.architecture import Architecture, DecisionSpace, Rule
from ddpnas.cost_table import CostTable
from ddpnas.diagram import Diagram, Vector
from ddpnas.distribution import JointDistribution
from ddpnas.errors import InfeasibleError
from ddpnas.infeasible import why_infeasible
from ddpnas.limits import Bounds, Limit, checked_limits, slack, within
from ddpnas.objective import Objective, objective_name, objective_rows, whole_rows
from ddpnas.programme import Programme
from ddpnas.solver import best_path

__all__ = ["Certificate", "Generated", "generate", "generated", "least_cost", "sample_within"]


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
        objective: "log_theta", "theta" or "score" (values given), whose sum was maximised.
        log_prob: natural logarithm of the architecture's probability.
        costs: value of every cost table given.
        slack: how far each limited cost is from the nearer end of its limit; never negative.
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
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
) -> Generated:
    """Return the provably most likely architecture whose costs are all within the limits.

    Args:
        distribution: what a search learned; pruned options take part with the probability that
            they kept, unless ``survivors_only``.
        space: the decisions and rules.
        limits: cost name -> upper limit, or (lower, upper), both inclusive, in the unit of the
            table.
        costs: cost name -> table; one for every limit, further ones are only reported.
        objective: maximise the sum of log theta ("log_theta", the likelihood), the sum of theta
            ("theta", as the authors' generator does), or of the values given here for each
            (decision, option), such as fitted effects on the score. Under log theta an option of
            probability 0 is chosen only where nothing else is within the limits, and as few of
            them as possible.
        survivors_only: leave pruned options out.
        rules: conditions beside those of the space.

    Raises:
        InfeasibleError: with the least reachable value of the limit that cannot be met.
        OptionError: a limit without a cost table, or one that is no range.
    """
    started = time.perf_counter()
    costs = dict(costs or {})
    bounds = checked_limits(limits or {}, costs)
    for table in costs.values():
        table.check(space)
    allowed = distribution.alive if survivors_only else None
    rows = objective_rows(objective, distribution, space)
    try:
        diagram = Diagram(space, [costs[name] for name in bounds], rules, allowed)
        architecture = best_architecture(diagram, whole_rows(rows), bounds, costs)
        bound = -math.inf
    except OverflowError:
        solved = Programme(space, costs, rules, allowed).maximise(np.concatenate(rows), bounds)
        architecture = solved.architecture if solved else None
        bound = solved.bound if solved else -math.inf
    if architecture is None:
        problem = Programme(space, costs, rules, allowed)
        raise InfeasibleError(why_infeasible(problem, bounds))
    return generated(architecture, distribution, space, objective, bounds, costs, started, bound)


def best_architecture(
    diagram: Diagram, rows: Sequence[Vector], bounds: Bounds, costs: Mapping[str, CostTable]
) -> Architecture | None:
    """Return the best architecture of a diagram within the bounds, None if there is none."""

    def accept(options: list[int]) -> bool:
        return within(diagram.decode(options), bounds, costs)

    path = best_path(diagram, rows, list(bounds.values()), accept)
    return diagram.decode(path.options) if path is not None else None


def generated(
    architecture: Architecture,
    distribution: JointDistribution,
    space: DecisionSpace,
    objective: Objective,
    bounds: Bounds,
    costs: Mapping[str, CostTable],
    started: float,
    bound: float = -math.inf,
) -> Generated:
    """Return the architecture with its figures; ``bound`` is -inf where the search was complete."""
    rows = objective_rows(objective, distribution, space)
    value = math.fsum(
        float(row[i]) for row, i in zip(rows, space.encode(architecture), strict=True)
    )
    bound = max(bound, value)
    gap = (bound - value) / max(1e-9, abs(value))
    reached = {name: table.cost(architecture) for name, table in costs.items()}
    return Generated(
        architecture=architecture,
        objective=objective_name(objective),
        log_prob=distribution.log_prob(architecture),
        costs=reached,
        slack={name: slack(reached[name], *ends) for name, ends in bounds.items()},
        certificate=Certificate(value, bound, gap, time.perf_counter() - started),
    )


def least_cost(space: DecisionSpace, table: CostTable) -> tuple[Architecture, float]:
    """Return the architecture of the lowest cost that obeys the rules, and that cost."""
    table.check(space)
    problem = Programme(space, {table.name: table})
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
    bounds = checked_limits(limits, costs)
    for _ in range(tries):
        architecture = space.sample(rng)
        if within(architecture, bounds, costs):
            return architecture
    rows = tuple(rng.dirichlet(np.ones(len(d.options))) for d in space.decisions)
    uniform = JointDistribution.uniform(space.decisions)
    return generate(uniform.with_rows(rows), space, limits, costs).architecture
