"""Mixtures of all options: the training behind gradient-based strategies.

In: a search space, data, and a :class:`ddpnas.strategies.GradientStrategy`. Out: an evaluator that
trains weights and logits for an epoch before each score. :class:`MixedChoices` runs all options
of a choice at once, a :class:`Mixture` draws their weights, and a :class:`MixtureStep` moves logits
and weights.
"""

from ddpnas.relaxed.estimate import MixtureEstimate
from ddpnas.relaxed.evaluator import MixtureConfig, MixtureEvaluator
from ddpnas.relaxed.expected_cost import CostPenalty, ExpectedCost
from ddpnas.relaxed.load import MixtureLoad
from ddpnas.relaxed.memory import StepMemory
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.partial_channels import PartialChannels, partial_supernet
from ddpnas.relaxed.relaxations import RELAXATIONS, Relaxation
from ddpnas.relaxed.steps import MixtureStep
from ddpnas.relaxed.unrolled import second_order
from ddpnas.relaxed.widths import MixedWidths

__all__ = [
    "RELAXATIONS",
    "CostPenalty",
    "Draw",
    "ExpectedCost",
    "MixedChoices",
    "MixedWidths",
    "Mixture",
    "MixtureConfig",
    "MixtureEstimate",
    "MixtureEvaluator",
    "MixtureLoad",
    "MixtureStep",
    "PartialChannels",
    "Relaxation",
    "StepMemory",
    "partial_supernet",
    "second_order",
]
