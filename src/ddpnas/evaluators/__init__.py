"""Where a score comes from: shared weights, a training of each architecture, or a table.

In: a search space, data and options. Out: an :class:`Evaluator`, which gives each architecture of
a batch an :class:`Evaluation`. :func:`create_evaluator` makes one by name; your own is any object
with the same methods, most simply a subclass of :class:`BaseEvaluator`.
"""

from ddpnas.evaluators.base import BaseEvaluator, Evaluation, Evaluator
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.continued import ContinuedConfig, ContinuedEvaluator
from ddpnas.evaluators.registry import create_evaluator, evaluator_options, list_evaluators
from ddpnas.evaluators.rmi import RMIConfig, RMIEvaluator, linear_cka
from ddpnas.evaluators.standalone import StandaloneConfig, StandaloneEvaluator
from ddpnas.evaluators.supernet import SupernetEvaluator
from ddpnas.evaluators.table import TableConfig, TableEvaluator

__all__ = [
    "BaseEvaluator",
    "ContinuedConfig",
    "ContinuedEvaluator",
    "Evaluation",
    "Evaluator",
    "RMIConfig",
    "RMIEvaluator",
    "StandaloneConfig",
    "StandaloneEvaluator",
    "SupernetConfig",
    "SupernetEvaluator",
    "TableConfig",
    "TableEvaluator",
    "create_evaluator",
    "evaluator_options",
    "linear_cka",
    "list_evaluators",
]
