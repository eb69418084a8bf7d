"""The best architectures within hard limits, proven to be the best.

In: a distribution over architectures, cost tables and limits. Out: the likeliest architecture
(:func:`generate`), the likeliest ones (:func:`top_k`), the whole trade-off (:func:`frontier`), or
the sentence that says which limits conflict. Every answer is exact: resource-constrained longest
paths on a decision diagram, or a 0-1 program where the diagram would be too large.

Example:
    >>> import ddpnas
    >>> space = ddpnas.create_space("toy")
    >>> uniform = ddpnas.JointDistribution.uniform(space.decisions)
    >>> found = ddpnas.generate(uniform, space, {"macs": "2K"}, ddpnas.count_costs(space))
    >>> found.costs["macs"] + found.margin["macs"]
    2000.0
"""

from ddpnas.generation.best import Certificate, Generated, generate, sample_within, top_k
from ddpnas.generation.cost_ranges import CostRange, cost_bounds, cost_ranges
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit, parse_limits

__all__ = [
    "Certificate",
    "CostRange",
    "Generated",
    "Limit",
    "cost_bounds",
    "cost_ranges",
    "frontier",
    "generate",
    "parse_limits",
    "sample_within",
    "top_k",
]
