"""Where a score comes from: weights shared by all architectures."""

from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.evaluators.supernet import SupernetConfig, SupernetEvaluator

__all__ = ["Evaluation", "Evaluator", "SupernetConfig", "SupernetEvaluator"]
