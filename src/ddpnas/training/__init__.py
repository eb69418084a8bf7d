"""Training: one epoch on a path of a supernet, and the recipe that trains a found network."""

from ddpnas.training.epoch import accuracy, pick_device, train_epoch
from ddpnas.training.recipe import RECIPES, Recipe, TrainResult, train

__all__ = ["RECIPES", "Recipe", "TrainResult", "accuracy", "pick_device", "train", "train_epoch"]
