"""Where a score comes from: weights shared by all architectures, or a training of its own."""

from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.standalone import StandaloneConfig, StandaloneEvaluator
from ddpnas.evaluators.supernet import SupernetEvaluator

__all__ = [
    "Evaluation",
    "Evaluator",
    "StandaloneConfig",
    "StandaloneEvaluator",
    "SupernetConfig",
    "SupernetEvaluator",
]
