"""What a network may be: decisions and rules, the function that asks, and the supernet.

In: a function ``network(choose, ...)`` in ordinary PyTorch. Out: a :class:`SearchSpace`, which
lists the decisions, makes the weight-sharing :class:`Supernet` and builds the network of an
:class:`Architecture`. A :class:`JointDistribution` says how likely each architecture is.

Decisions, rules and the distribution need no torch; names are imported on first use.
"""

from typing import TYPE_CHECKING

from ddpnas.utils.lazy import lazy_names

if TYPE_CHECKING:
    from ddpnas.space.choose import Choose
    from ddpnas.space.decisions import Architecture, Decision, DecisionSpace, Rule
    from ddpnas.space.distribution import JointDistribution
    from ddpnas.space.replace import replaceable
    from ddpnas.space.search_space import SearchSpace
    from ddpnas.space.supernet import Supernet

__all__ = [
    "Architecture",
    "Choose",
    "Decision",
    "DecisionSpace",
    "JointDistribution",
    "Rule",
    "SearchSpace",
    "Supernet",
    "replaceable",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Architecture": "ddpnas.space.decisions",
        "Choose": "ddpnas.space.choose",
        "Decision": "ddpnas.space.decisions",
        "DecisionSpace": "ddpnas.space.decisions",
        "JointDistribution": "ddpnas.space.distribution",
        "Rule": "ddpnas.space.decisions",
        "SearchSpace": "ddpnas.space.search_space",
        "Supernet": "ddpnas.space.supernet",
        "replaceable": "ddpnas.space.replace",
    },
)
