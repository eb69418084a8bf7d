"""Training: one epoch on a path of a supernet, and the recipe that trains a found network."""

from ddpnas.training.compare import Trained, compare
from ddpnas.training.epoch import accuracy, pick_device, train_epoch
from ddpnas.training.recipe import RECIPES, Recipe, TrainResult, train
from ddpnas.training.saved import save_trained

__all__ = [
    "RECIPES",
    "Recipe",
    "TrainResult",
    "Trained",
    "accuracy",
    "compare",
    "pick_device",
    "save_trained",
    "train",
    "train_epoch",
]
