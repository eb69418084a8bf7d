"""A trained network ready for use, and the folder that holds it."""

from ddpnas.trained.folder import load, save_folder
from ddpnas.trained.model import TrainedModel

__all__ = ["TrainedModel", "load", "save_folder"]
