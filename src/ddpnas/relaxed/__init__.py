"""Mixtures of all options: the training behind gradient-based strategies.

In: a supernet, the logits of its decisions, and batches. Out: moved weights and logits.
:class:`MixedChoices` runs all options
of a choice at once, a :class:`Mixture` draws their weights, and a :class:`MixtureStep` moves logits
and weights.
"""

from ddpnas.relaxed.expected_cost import ExpectedCost
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.relaxations import RELAXATIONS, Relaxation
from ddpnas.relaxed.steps import MixtureStep
from ddpnas.relaxed.unrolled import second_order

__all__ = [
    "RELAXATIONS",
    "Draw",
    "ExpectedCost",
    "MixedChoices",
    "Mixture",
    "MixtureStep",
    "Relaxation",
    "second_order",
]
