"""Training: one epoch on a path of a supernet, and the recipes that train a found network."""

from ddpnas.training.compare import Trained, compare, final_space, inference_space
from ddpnas.training.device import pick_device
from ddpnas.training.evaluate import Scored, evaluate
from ddpnas.training.recipes import RECIPES, Recipe, create_recipe
from ddpnas.training.result import TrainResult
from ddpnas.training.steps import train_epoch
from ddpnas.training.train import train
from ddpnas.training.trained_folder import save_trained

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
