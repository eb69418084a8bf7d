"""Open the trained network that a command names, by its own folder or by that of its run."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from jsonargparse import Namespace

from ddpnas.data.data import Data
from ddpnas.fitting.plan import FitPlan
from ddpnas.runs.folder import PLAN, SHRINK
from ddpnas.runs.run import Run
from ddpnas.shrinking.plan import ShrinkPlan
from ddpnas.training.trained_folder import load
from ddpnas.training.trained_model import TrainedModel

__all__ = ["load_network", "training_data"]

logger = logging.getLogger(__name__)


def load_network(options: Namespace, device: torch.device | str = "cpu") -> TrainedModel:
    """Return the trained network in ``options.folder``.

    Warn if that is a run from which another network was generated since the training: the user may
    mean the other one.
    """
    model = load(options.folder, space=options.space, model=options.network, device=device)
    run = Run.of_trained(options.folder)
    if run is not None and run.path == Path(options.folder) and run.untrained is not None:
        logger.warning(
            "note: this is the trained network of %s; the one that was generated last is not "
            "trained yet",
            run.path,
        )
    return model


def training_data(model: TrainedModel) -> Data:
    """Return the data of the training, from where the run, fit or shrink has its images.

    Raises:
        RunError: The data are not found, or have changed.
    """
    return model.load_data(None if model.folder is None else _images(Path(model.folder)))


def _images(folder: Path) -> str | None:
    """Return where the images of a trained network are; None if the folder was moved elsewhere."""
    run = Run.of_trained(folder)
    if run is not None:
        return run.images
    above = folder.resolve().parent
    if (above / SHRINK).is_file():
        source = ShrinkPlan.read(above).data
    elif (above / PLAN).is_file():  # of a fit that started from a network
        source = FitPlan.read(above).data
    else:
        source = None
    return None if source is None else str(source["data"])
