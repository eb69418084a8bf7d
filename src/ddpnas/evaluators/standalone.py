"""StandaloneEvaluator: train each architecture alone, from scratch, and score it.

The dearest and most honest score: no weights are shared, no score depends on another, and the
architectures of a batch can be trained at the same time. What a strategy finds by it is the
baseline of searches with shared weights on one's own data.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.errors import OptionError, nearest
from ddpnas.evaluators.base import Evaluation
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.user_space import space_from_file
from ddpnas.training.device import pick_device
from ddpnas.training.recipes import RECIPES, Recipe
from ddpnas.training.train import train
from ddpnas.utils.seeds import seeded
from ddpnas.utils.workers import check_workers, run_tasks, worker_number

__all__ = ["StandaloneConfig", "StandaloneEvaluator"]


@dataclass(frozen=True)
class StandaloneConfig:
    """How each candidate is trained on its own.

    Args:
        epochs: passes over the training images.
        recipe: how it is trained, one of `ddpnas recipes`.
        threads: of each training on the CPU; scores of another number may differ in their last
            digits.
        workers: trainings at the same time, each in a process of its own; 1 trains in this one.
            Scores do not depend on it.
        executor: where the workers are: "local" for processes of this machine, or "ray".
    """

    epochs: int = 5
    recipe: str = "quick"
    threads: int = 1
    workers: int = 1
    executor: str = "local"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.threads < 1:
            raise OptionError("epochs and threads of standalone trainings are at least 1")
        if self.recipe not in RECIPES:
            raise OptionError(nearest("recipe", self.recipe, RECIPES))
        check_workers(self.workers, self.executor)

    def identity(self) -> dict[str, Any]:
        """Return what scores depend on, as plain data."""
        return {"epochs": self.epochs, "recipe": self.recipe, "threads": self.threads}


class StandaloneEvaluator:
    """Scores an architecture by its validation accuracy after a training of its own.

    All begin from the same seed and see the same images in the same order, whatever was scored
    before and wherever it is trained, so that nothing has to be kept between two scores.

    Args:
        space: builds the networks.
        data: its training split trains, its validation split scores; test images are not used.
        epochs: of each training.
        recipe: see :func:`ddpnas.train`.
        seed: of initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...; several local workers take its devices in turn.
        threads: of each training on the CPU; None leaves torch's number, which is 1 in workers.
        workers, executor: see :class:`StandaloneConfig`.

    Raises:
        OptionError: workers that cannot be.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        epochs: int,
        recipe: Recipe | str = "quick",
        *,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        workers: int = 1,
        executor: str = "local",
    ) -> None:
        check_workers(workers, executor)
        self.epochs = epochs
        self.device = pick_device(device)
        self._workers, self._executor = workers, executor
        name = str(space.name)
        self._training = _Training(
            space=space if space.source is None else (name, space.options),
            code=None if space.source is None else space.source.fingerprint(),
            data=dataclasses.replace(data, test=None),  # train() then keeps the validation apart
            epochs=epochs,
            recipe=recipe,
            seed=seed,
            device=device,
            threads=threads,
        )

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[Mapping[str, float]]:
        """Yield nothing: no score depends on what came before."""
        return iter(())

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the validation accuracy of each, in order.

        Details: ``accuracy`` (a fraction), ``loss`` of the last epoch, ``train_images`` (of all
        epochs) and ``train_seconds``.

        Raises:
            DivergedError: a training's loss became NaN or infinite.
            RunError: worker after worker died of an architecture, or the code of a user's own
                space has changed before a worker read it.
        """
        yield from run_tasks(
            _train_one,
            self._training,
            architectures,
            workers=self._workers,
            executor=self._executor,
            accelerated=self.device.type != "cpu",
        )

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return nothing: there is no state."""
        return {}, {}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


@dataclass(frozen=True)
class _Training:
    """What all trainings have in common; a space of a user's file as its name and options.

    Such a file is executed once more in each worker, if its code is still that of the search.
    """

    space: SearchSpace | tuple[str, Mapping[str, Any]]
    code: Mapping[str, Any] | None
    data: Data
    epochs: int
    recipe: Recipe | str
    seed: int
    device: str
    threads: int | None

    @functools.cached_property
    def opened(self) -> SearchSpace:
        """The space, made once in each worker."""
        if isinstance(self.space, SearchSpace):
            return self.space
        name, options = self.space
        same = confirmed_name("space", "this search", name, name, known=(), kept=self.code)
        return space_from_file(same, **options)


def _train_one(training: _Training, architecture: Architecture) -> Evaluation:
    """Return the score of one architecture, wherever this runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(training.threads or before)
    started = time.perf_counter()
    try:
        with seeded(training.seed):
            network = training.opened.build(architecture, path=True)
        trained = train(
            network,
            training.data,
            training.recipe,
            epochs=training.epochs,
            seed=training.seed,
            device=_own_device(training.device),
        )
    finally:
        torch.set_num_threads(before)
    details = {
        "accuracy": trained.evaluation.accuracy,
        "loss": trained.history[-1]["loss"],
        "train_images": len(trained.history) * len(training.data.train),
        "train_seconds": time.perf_counter() - started,
    }
    return Evaluation(trained.evaluation.accuracy, details)


def _own_device(name: str) -> str:
    """Return the device of this worker: its own of several of a kind."""
    device = pick_device(name)
    if device.type == "cpu" or ":" in name:
        return str(device)
    return f"{device.type}:{worker_number() % torch.accelerator.device_count()}"
