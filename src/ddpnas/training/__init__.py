"""Training: one epoch on a path of a supernet, and the recipes that train a found network."""

from ddpnas.training.compare import compare
from ddpnas.training.device import pick_device
from ddpnas.training.evaluate import evaluate
from ddpnas.training.final_spaces import final_space, inference_space
from ddpnas.training.options import TrainOptions
from ddpnas.training.recipes import RECIPES, Recipe, create_recipe
from ddpnas.training.results import Compared, EvaluationResult, TrainResult
from ddpnas.training.steps import TrainStep, train_epoch
from ddpnas.training.train import train
from ddpnas.training.trained_folder import save_networks

__all__ = [
    "RECIPES",
    "Compared",
    "EvaluationResult",
    "Recipe",
    "TrainOptions",
    "TrainResult",
    "TrainStep",
    "compare",
    "create_recipe",
    "evaluate",
    "final_space",
    "inference_space",
    "pick_device",
    "save_networks",
    "train",
    "train_epoch",
]
