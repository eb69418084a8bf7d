"""Training: one epoch on a path of a supernet, and the recipes that train a found network."""

from ddpnas.training._steps import pick_device, train_epoch
from ddpnas.training.compare import Trained, compare, final_space, inference_space
from ddpnas.training.evaluate import Scored, evaluate
from ddpnas.training.recipes import RECIPES, Recipe, create_recipe
from ddpnas.training.result import TrainResult
from ddpnas.training.saved import save_trained
from ddpnas.training.train import train

__all__ = [
    "RECIPES",
    "Recipe",
    "Scored",
    "TrainResult",
    "Trained",
    "compare",
    "create_recipe",
    "evaluate",
    "final_space",
    "inference_space",
    "pick_device",
    "save_trained",
    "train",
    "train_epoch",
]
