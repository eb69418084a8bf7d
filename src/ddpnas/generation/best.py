"""generate(): the most likely architecture within limits, exactly; top_k(): the k best ones.

The problem is stated and solved without approximation:

    maximize    sum over the choices of log theta        (or of theta, or of any values)
    subject to  one option a decision, every rule of the space, every limit on a cost.

(The generator of the DDPNAS authors maximizes the sum of theta by dynamic programming over weights
rounded to two decimals.) :mod:`ddpnas.generation._problem` says how it is solved. The answer
carries a certificate of optimality, and limits that cannot be met are answered by what can.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.generation._infeasible import infeasible
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import Limit, Limits, checked_limits, tightened_limits, within
from ddpnas.generation.objective import Objective, objective_name, objective_rows, objective_value
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution
from ddpnas.utils.settings import Count, checked, checks_arguments

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
        objective: The value of the architecture.
        bound: No architecture within the limits has a larger value.
        seconds: Time that the solver took.

    Example:
        >>> Certificate(objective=2.0, bound=2.5, seconds=0.1).gap
        0.25
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
        architecture: The optimum.
        objective: What was maximized: "log_theta", "theta", or "score" for given values.
        log_prob: Natural logarithm of the architecture's probability.
        costs: Its cost by every table that was given.
        limits: The limits that were asked for.
        certificate: The proof that no other architecture within them is better.
        tightened: The limits that were met: those on measured costs less a margin for their error.

    Example:
        >>> proof = Certificate(objective=-1.0, bound=-1.0, seconds=0.1)
        >>> limits = {"macs": Limit.parse("10M..20M")}
        >>> costs = {"macs": 18e6}
        >>> Generated(Architecture({"op": "conv"}), "log_theta", -1.0, costs, limits, proof).margin
        {'macs': 2000000.0}
    """

    architecture: Architecture
    objective: str
    log_prob: float
    costs: dict[str, float]
    limits: dict[str, Limit]
    certificate: Certificate
    tightened: dict[str, Limit] = field(default_factory=dict)

    @property
    def margin(self) -> dict[str, float]:
        """How far each limited cost is from the nearer end of its limit; never negative."""
        return {name: limit.margin(self.costs[name]) for name, limit in self.limits.items()}


@checks_arguments
def generate(
    distribution: JointDistribution,
    space: DecisionSpace,
    limits: Limits | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
    margin: float | str | None = None,
) -> Generated:
    """Return the provably most likely architecture whose costs are all within the limits.

    Args:
        distribution: What a search learned. Pruned options take part with the probability that
            they have, unless ``survivors_only``.
        space: The decisions and rules.
        limits: Cost name -> limit in the unit of the table: a number or "20M" (at most), ">=10M",
            (lower, upper) or "10M..20M"; see :meth:`Limit.parse`. Limits are inclusive.
        costs: Cost name -> table, one for every limit. Further tables are only reported.
        objective: What to maximize: the sum of log theta ("log_theta", the likelihood), the sum of
            theta ("theta", as the authors' generator does), or that of the values given here for
            each (decision, option), such as fitted effects on the score. Under log theta an option
            of probability 0 is chosen only where nothing else is within the limits, and as few of
            them as possible.
        survivors_only: Leave pruned options out.
        rules: Conditions in addition to those of the space.
        margin: Share by which costs that are not counted may be wrong, such as 0.05 or "5%", for
            which their limits are tightened. By default that of each table
            (:attr:`ddpnas.CostTable.margin`), which a latency table has measured; 0 for none.

    Raises:
        InfeasibleError: The limits cannot be met. The message names those that conflict and the
            lowest possible value of each.
        OptionError: A limit cannot be read, or its cost has no table.
        SpaceError: The distribution or a table is of another space.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> uniform = ddpnas.JointDistribution.uniform(space.decisions)
        >>> found = ddpnas.generate(uniform, space, {"macs": "2K"}, ddpnas.count_costs(space))
        >>> found.costs["macs"] <= 2000, found.certificate.gap
        (True, 0.0)
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
        margin=margin,
    )[0]


@checks_arguments
def top_k(
    distribution: JointDistribution,
    space: DecisionSpace,
    k: Count,
    limits: Limits | None = None,
    costs: Mapping[str, CostTable] | None = None,
    *,
    objective: Objective = "log_theta",
    survivors_only: bool = False,
    rules: Sequence[Rule] = (),
    margin: float | str | None = None,
) -> list[Generated]:
    """Return the ``k`` best different networks within the limits, best first.

    The list is shorter if fewer than ``k`` networks are feasible. Architectures that are the same
    network (``space.canonical``) count once, by the best of them. Each is proven: no network that
    is not listed is better.

    Args:
        distribution: See :func:`generate`.
        space: See :func:`generate`.
        k: Number of networks, at least 1.
        limits: See :func:`generate`.
        costs: See :func:`generate`.
        objective: See :func:`generate`.
        survivors_only: See :func:`generate`.
        rules: See :func:`generate`.
        margin: See :func:`generate`.

    Raises:
        InfeasibleError: No architecture is within the limits.
        OptionError: ``k`` is below 1, or a limit cannot be read or has no table.
        SpaceError: The distribution or a table is of another space.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> uniform = ddpnas.JointDistribution.uniform(space.decisions)
        >>> len({one.architecture for one in ddpnas.top_k(uniform, space, 3)})
        3
    """
    checked("distribution of generate()", JointDistribution, distribution)
    checked("space of generate()", DecisionSpace, space)
    k = checked("k", Count, k)
    started = time.perf_counter()
    costs = dict(costs or {})
    asked = checked_limits(limits or {}, costs)
    for table in costs.values():
        table.check(space)
    tightened = tightened_limits(asked, costs, margin)
    rows = objective_rows(objective, distribution, space)
    allowed = distribution.alive if survivors_only else None
    problem = Problem(space, {name: costs[name] for name in tightened}, rules, allowed)
    found: dict[Architecture, Generated] = {}
    for architecture, bound in problem.best(rows, tightened):
        network = space.canonical(architecture)
        if network in found:  # the best architecture of this network came before
            continue
        value = objective_value(rows, space, architecture)
        bound = max(bound, value)
        seconds = time.perf_counter() - started
        certificate = Certificate(value, bound, seconds)
        found[network] = describe(
            architecture, distribution, objective, asked, tightened, costs, certificate
        )
        if len(found) == k:
            break
    if not found:
        raise infeasible(problem, tightened, asked)
    return list(found.values())


def describe(
    architecture: Architecture,
    distribution: JointDistribution,
    objective: Objective,
    limits: Mapping[str, Limit],
    tightened: Mapping[str, Limit],
    costs: Mapping[str, CostTable],
    certificate: Certificate,
) -> Generated:
    """Return the architecture with its probability, costs and proof.

    Args:
        architecture: What was found.
        distribution: What it was generated from.
        objective: What was maximized.
        limits: The limits that were asked for.
        tightened: The limits that it had to meet.
        costs: Cost name -> table, all of which are reported.
        certificate: The proof.
    """
    reached = {name: table.cost(architecture) for name, table in costs.items()}
    return Generated(
        architecture=architecture,
        objective=objective_name(objective),
        log_prob=distribution.log_prob(architecture),
        costs=reached,
        limits=dict(limits),
        certificate=certificate,
        tightened=dict(tightened),
    )


def sample_within(
    space: DecisionSpace,
    limits: Limits,
    costs: Mapping[str, CostTable],
    rng: np.random.Generator,
    tries: int = 2_000,
    *,
    margin: float | str | None = None,
) -> Architecture:
    """Return a random architecture within the limits.

    The first of up to ``tries`` uniform draws that is within the limits, and so uniform among
    those. Where the limits are too tight for that, it is the optimum of a random objective: within
    the limits, but no longer uniform.

    Args:
        space: Decisions and rules.
        limits: Cost name -> limit; see :func:`generate`.
        costs: Cost name -> table, one for every limit.
        rng: Source of randomness.
        tries: Number of uniform draws.
        margin: See :func:`generate`.

    Raises:
        InfeasibleError: No architecture is within the limits.

    Example:
        >>> import ddpnas, numpy as np
        >>> space = ddpnas.create_space("toy")
        >>> costs = ddpnas.count_costs(space)
        >>> drawn = sample_within(space, {"macs": "2K"}, costs, np.random.default_rng(0))
        >>> costs["macs"].cost(drawn) <= 2000
        True
    """
    tightened = tightened_limits(checked_limits(limits, costs), costs, margin)
    for _ in range(tries):
        architecture = space.sample(rng)
        if within(architecture, tightened, costs):
            return architecture
    rows = tuple(rng.dirichlet(np.ones(len(d.options))) for d in space.decisions)
    uniform = JointDistribution.uniform(space.decisions)
    found = generate(uniform.with_rows(rows), space, limits, costs, margin=margin)
    return found.architecture
