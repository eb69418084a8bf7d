"""What a network may be: decisions and rules, the function that asks, and the supernet.

In: a function ``network(choose, ...)`` in ordinary PyTorch. Out: a :class:`SearchSpace`, which
lists the decisions, makes the weight-sharing :class:`Supernet` and builds the network of an
:class:`Architecture`. A :class:`JointDistribution` says how likely each architecture is.

Four questions about an architecture ``a``, each answered by a method of the space:

    check(a)             may this network be built?          all rules hold
    check(a, path=True)  may this path be searched?          rules marked final need not hold
    active(a)            which decisions matter?             not those inside an option not taken
    canonical(a)         which networks are the same?        one form stands for all of them
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
