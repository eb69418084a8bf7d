"""train(): a network by a recipe, from the weights it has, and its accuracy on unseen images."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import RunError
from ddpnas.training.device import check_precision, pick_device
from ddpnas.training.distillation import as_teacher
from ddpnas.training.distributed import join
from ddpnas.training.first_call import check_model, explained
from ddpnas.training.options import TrainOptions, complete
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.training.results import TrainResult
from ddpnas.training.session import Session, kept_halvings
from ddpnas.training.tracking import tracked
from ddpnas.utils.files import LOCK, lock, writable
from ddpnas.utils.settings import checks_arguments

__all__ = ["train"]

logger = logging.getLogger(__name__)


@checks_arguments
def train(
    model: nn.Module,
    data: Data | Any,
    recipe: Recipe | str = "quick",
    *,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train the network; return it with its accuracy on images not trained on.

    If the data has test images, the network is trained on training and validation images
    together, as is usual once the architecture is fixed, unless the recipe keeps the best epoch.
    Without test images, the validation images are kept out and the accuracy is theirs. Test
    images are read once, at the end.

    Launched as several processes (``accelerate launch`` or ``torchrun``), each process trains on
    its shard of every batch.

    Args:
        model: A module with one logit a class. Training starts from its present weights and
            changes them.
        data: See :func:`ddpnas.data.as_data`.
        recipe: See :func:`ddpnas.training.create_recipe`.
        on_epoch: Called with each record of the history.
        options: See :class:`ddpnas.training.TrainOptions`: ``epochs``, ``seconds``, ``shortened``,
            ``seed``, ``device``, ``mixed_precision``, ``track``, ``sieve``, ``folder`` and
            ``resume``.

    Raises:
        OptionError: A name is unknown or a value out of range, or the network does not take the
            inputs of the data or does not give one logit for each class.
        RunError: The checkpoint is damaged or belongs to another training, or another process
            trains in ``folder``.
        DivergedError: The loss became NaN or infinite.

    A training that runs out of memory in its first epoch starts again with half the batch.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(80, 5), torch.arange(80) % 2))
        >>> result = ddpnas.train(torch.nn.Linear(5, 2), data, epochs=2, device="cpu")
        >>> 0 <= result.evaluation.accuracy <= 1
        True
    """
    check_model(model)
    run = complete(options)
    recipe = create_recipe(recipe, **({} if run["epochs"] is None else {"epochs": run["epochs"]}))
    sieve = SieveConfig(run["sieve"], run["sieve_options"])
    folder = None if run["folder"] is None else Path(run["folder"])
    processes = join(run["device"])
    device = pick_device(run["device"]) if processes.size == 1 else processes.device
    check_precision(run["mixed_precision"], device)
    data = as_data(data)
    teacher = None if run["teacher"] is None else as_teacher(run["teacher"], data, device)
    with (
        processes.on_first(lambda: _made(folder)) or contextlib.nullcontext(),
        tracked(run["track"], folder, dataclasses.asdict(recipe)) as log,
    ):

        def report(record: dict[str, float]) -> None:
            log(record)
            if on_epoch is not None:
                on_epoch(record)

        halvings = 0 if folder is None or not run["resume"] else kept_halvings(folder)
        while True:
            try:
                session = Session(
                    dataclasses.replace(processes, device=device), model, data, recipe,
                    seed=run["seed"], precision=run["mixed_precision"], folder=folder,
                    seconds=run["seconds"], shortened=run["shortened"], teacher=teacher,
                    halvings=halvings, sieve=sieve,
                )  # fmt: skip
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise RunError(
                    "there is not enough memory for the images and the network; give smaller or "
                    "fewer images, or close other programs"
                ) from error
            try:
                with explained(session.model, data):
                    return session.run(resume=run["resume"], on_epoch=report)
            except Exception as error:
                batch_size = session.recipe.batch_size or 1
                if not is_out_of_memory(error) or processes.size > 1:
                    raise
                if session.begun:
                    resume = "" if folder is None else ", then go on with --resume (resume=True)"
                    raise RunError(
                        f"memory ran out after an epoch of the training; close other "
                        f"programs{resume}"
                    ) from error
                if batch_size == 1:
                    raise RunError(
                        "there is not enough memory for a batch of one image; give smaller images "
                        "or a smaller network, or close other programs"
                    ) from None
            session.withdraw()
            del session
            halvings += 1
            if device.type == "cuda":
                torch.cuda.empty_cache()
            logger.warning(
                "warning: there is not enough memory for %d images a step; the training starts "
                "again with %d",
                batch_size, batch_size // 2,
            )  # fmt: skip


def _made(folder: Path | None) -> contextlib.AbstractContextManager[object] | None:
    """Make the folder of the checkpoints and lock it: another training would mix its own in."""
    if folder is None:
        return None
    with writable(folder, "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        return lock(folder, folder / LOCK, "give another folder")
