"""Training: from a network and data to a trained network with its figures.

:func:`train` trains any module by a :class:`Recipe`; :func:`compare` trains an architecture, random
ones and known networks alike; :func:`evaluate` measures a trained network. A result is saved with
:meth:`TrainResult.save` or :func:`save_networks` and loaded with :func:`ddpnas.load`.
"""

from ddpnas.training.compare import compare
from ddpnas.training.device import pick_device
from ddpnas.training.evaluate import evaluate
from ddpnas.training.final_spaces import final_space, inference_space
from ddpnas.training.options import TrainOptions
from ddpnas.training.pretrained import OpenedNetwork, library_preprocessing, open_network
from ddpnas.training.recipes import RECIPES, Recipe, create_recipe
from ddpnas.training.results import Compared, EvaluationResult, TrainResult
from ddpnas.training.steps import TrainStep, train_epoch
from ddpnas.training.train import train
from ddpnas.training.trained_folder import save_networks

__all__ = [
    "RECIPES",
    "Compared",
    "EvaluationResult",
    "OpenedNetwork",
    "Recipe",
    "TrainOptions",
    "TrainResult",
    "TrainStep",
    "compare",
    "create_recipe",
    "evaluate",
    "final_space",
    "inference_space",
    "library_preprocessing",
    "open_network",
    "pick_device",
    "save_networks",
    "train",
    "train_epoch",
]
