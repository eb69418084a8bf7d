"""generate(): the most likely architecture within limits, exactly; top_k(): the k best ones.

The authors' generator maximises the sum of theta over the decisions by dynamic programming over
weights rounded to two decimals. Here the problem is stated as it is,

    maximise    sum over the choices of log theta        (or of theta, or of any values)
    subject to  one option a decision, every rule of the space, every limit on a cost,

and solved to a proven optimum. What comes back carries the certificate,
and what cannot be met is answered with the least that can.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.generation._infeasible import infeasible
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import Limit, Limits, checked_limits, within
from ddpnas.generation.objective import Objective, objective_name, objective_rows, objective_value
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution

__all__ = [
    "Certificate",
    "Generated",
    "describe",
    "generate",
    "sample_within",
    "top_k",
]


@dataclass(frozen=True)
class Certificate:
    """The solver's proof: the value reached, and a bound that no architecture can exceed.

    Attributes:
        objective: the value of the architecture.
        bound: no architecture within the limits has a larger value.
        seconds: Time that the solver took.
    """

    objective: float
    bound: float
    seconds: float

    @property
    def gap(self) -> float:
        """How far the bound is above the value, relative to it; 0 for a proven optimum."""
        return (self.bound - self.objective) / max(1e-9, abs(self.objective))


@dataclass(frozen=True)
class Generated:
    """An architecture and what it was chosen for.

    Attributes:
        architecture: the optimum.
        objective: "log_theta", "theta" or "score" (values given), whose sum was maximised.
        log_prob: natural logarithm of the architecture's probability.
        costs: value of every cost table given.
        limits: The limits that were met.
        certificate: The proof that no other architecture within them is better.
    """

    architecture: Architecture
    objective: str
    log_prob: float
    costs: dict[str, float]
    limits: dict[str, Limit]
    certificate: Certificate

    @property
    def margin(self) -> dict[str, float]:
        """How far each limited cost is from the nearer end of its limit; never negative."""
        return {name: limit.margin(self.costs[name]) for name, limit in self.limits.items()}


def generate(
    distribution: JointDistribution,
    space: DecisionSpace,
    limits: Limits | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
) -> Generated:
    """Return the provably most likely architecture whose costs are all within the limits.

    Args:
        distribution: what a search learned; pruned options take part with the probability that
            they have, unless ``survivors_only``.
        space: the decisions and rules.
        limits: Cost name -> limit in the unit of the table: a number or "20M" (at most), ">=10M",
            (lower, upper) or "10M..20M"; see :meth:`Limit.parse`. Limits are inclusive.
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
        OptionError: A limit cannot be read, or its cost has no table.
    """
    return top_k(
        distribution,
        space,
        1,
        limits,
        costs,
        objective=objective,
        survivors_only=survivors_only,
        rules=rules,
    )[0]


def top_k(
    distribution: JointDistribution,
    space: DecisionSpace,
    k: int,
    limits: Limits | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
) -> list[Generated]:
    """Return the ``k`` best different networks within the limits, the best first; fewer if so few.

    Different as the space knows it (``space.canonical``); of architectures that are the same
    network, the best one. Each is proven: nothing that is not listed is better. Arguments and
    errors are those of :func:`generate`.
    """
    if k < 1:
        raise OptionError(f"k is at least 1, not {k}")
    started = time.perf_counter()
    costs = dict(costs or {})
    checked = checked_limits(limits or {}, costs)
    for table in costs.values():
        table.check(space)
    rows = objective_rows(objective, distribution, space)
    allowed = distribution.alive if survivors_only else None
    problem = Problem(space, {name: costs[name] for name in checked}, rules, allowed)
    found: dict[Architecture, Generated] = {}
    for architecture, bound in problem.best(rows, checked):
        network = space.canonical(architecture)
        if network in found:
            continue
        value = objective_value(rows, space, architecture)
        bound = max(bound, value)
        seconds = time.perf_counter() - started
        certificate = Certificate(value, bound, seconds)
        found[network] = describe(
            architecture, distribution, objective, checked, costs, certificate
        )
        if len(found) == k:
            break
    if not found:
        raise infeasible(problem, checked)
    return list(found.values())


def describe(
    architecture: Architecture,
    distribution: JointDistribution,
    objective: Objective,
    limits: Mapping[str, Limit],
    costs: Mapping[str, CostTable],
    certificate: Certificate,
) -> Generated:
    """Return the architecture with its figures."""
    reached = {name: table.cost(architecture) for name, table in costs.items()}
    return Generated(
        architecture=architecture,
        objective=objective_name(objective),
        log_prob=distribution.log_prob(architecture),
        costs=reached,
        limits=dict(limits),
        certificate=certificate,
    )


def sample_within(
    space: DecisionSpace,
    limits: Limits,
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
    checked = checked_limits(limits, costs)
    for _ in range(tries):
        architecture = space.sample(rng)
        if within(architecture, checked, costs):
            return architecture
    rows = tuple(rng.dirichlet(np.ones(len(d.options))) for d in space.decisions)
    uniform = JointDistribution.uniform(space.decisions)
    return generate(uniform.with_rows(rows), space, limits, costs).architecture
