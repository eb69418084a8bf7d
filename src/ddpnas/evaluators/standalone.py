"""StandaloneEvaluator: train each architecture alone, from scratch, and score it.

This is the most expensive and the most honest score. No weights are shared, no score depends on
another, and the architectures of a batch can be trained at the same time. Use it as the baseline
for searches with shared weights on your data.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DivergedError, OptionError, nearest
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.user_space import space_from_file
from ddpnas.training.device import pick_device
from ddpnas.training.recipes import RECIPES
from ddpnas.training.train import train
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Epochs, Workers, checked_fields
from ddpnas.utils.workers import check_workers, run_tasks, worker_number

__all__ = ["StandaloneConfig", "StandaloneEvaluator"]


@dataclass(frozen=True)
class StandaloneConfig:
    """How each candidate is trained on its own.

    Args:
        epochs: Passes over the training images.
        recipe: How each network is trained, one of `ddpnas recipes`.
        threads: CPU threads of each training. Another number may change the last digits of scores.
        workers: Number of trainings at the same time, each in its own process; 1 uses this one.
            Scores do not depend on it.
        executor: Where the workers run: "local" for processes on this machine, or "ray".

    Raises:
        OptionError: A value out of range, an unknown recipe, or workers that cannot run here.

    Example:
        >>> StandaloneConfig(epochs=10, workers=4).recipe
        'quick'
    """

    epochs: Epochs = 5
    recipe: str = "quick"
    threads: Workers = 1
    workers: Workers = 1
    executor: Literal["local", "ray"] = "local"

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'standalone'")
        if self.recipe not in RECIPES:
            raise OptionError(nearest("recipe", self.recipe, RECIPES))
        check_workers(self.workers, self.executor)


class StandaloneEvaluator(BaseEvaluator):
    """Trains each architecture from scratch, and scores it on validation images.

    All networks start from the same seed and see the same images in the same order, whatever was
    scored before and wherever they are trained. So there is no state to keep between two scores.

    Args:
        space: Builds the networks.
        data: Its training split trains, its validation split scores. Test images are not used.
        config: How each network is trained; None is the default :class:`StandaloneConfig`.
        seed: Seed for initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...; several local workers share its devices evenly.
        sieve: Which training images the epochs of each training read; None is all. All validation
            images score.

    Raises:
        OptionError: The sieve cannot run with the recipe.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> evaluator = StandaloneEvaluator(space, data, StandaloneConfig(epochs=1), device="cpu")
        >>> [found] = evaluator.evaluate([space.decode([0] * len(space.decisions))])
        >>> found.details["train_images"]
        40
    """

    lasting = True

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        config: StandaloneConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        sieve: SieveConfig | None = None,
    ) -> None:
        self.config = config or StandaloneConfig()
        self._sieve = sieve or SieveConfig()
        if self._sieve.valid_keep < 1:
            raise OptionError(
                "the evaluator standalone scores on all validation images: leave valid_keep out"
            )
        self.device = pick_device(device)
        # Workers receive a user's space as the name of its file: functions in a file that was
        # executed here cannot be sent to another process.
        name = str(space.name)
        self._training = _Training(
            space=space if space.source is None else (name, space.options),
            code=None if space.source is None else space.source.fingerprint(),
            data=dataclasses.replace(data, test=None),  # train() then keeps the validation apart
            config=self.config,
            seed=seed,
            device=device,
            sieve=self._sieve,
        )

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the validation accuracy of each architecture, in order.

        Details: ``accuracy`` (a fraction), ``loss`` in the last epoch, ``train_images`` (over all
        epochs) and ``train_seconds``. One whose training diverges scores NaN.

        Raises:
            RunError: An architecture killed one worker after another, or the code of a user's space
                changed before a worker read it.
        """
        yield from run_tasks(
            _train_one,
            self._training,
            architectures,
            workers=self.config.workers,
            executor=self.config.executor,
            accelerated=self.device.type == "cuda",  # Ray counts no others
        )

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Raise :class:`OptionError`: without training there is nothing to judge by."""
        raise OptionError(
            "the search trained each candidate on its own, so it left no shared weights to judge "
            "others by"
        )

    def identity(self) -> dict[str, Any]:
        """Return what scores depend on: workers and executor are left out."""
        config = self.config
        return {
            "epochs": config.epochs,
            "recipe": config.recipe,
            "threads": config.threads,
            **self._sieve.identity(),
        }


@dataclass(frozen=True)
class _Training:
    """What all trainings have in common, sent to each worker once.

    A space from a user's file is its name and options. Each worker executes the file again if its
    code is still that of the search.
    """

    space: SearchSpace | tuple[str, Mapping[str, Any]]
    code: Mapping[str, Any] | None
    data: Data
    config: StandaloneConfig
    seed: int
    device: str
    sieve: SieveConfig

    @functools.cached_property
    def opened(self) -> SearchSpace:
        """The space, created once in each worker."""
        if isinstance(self.space, SearchSpace):
            return self.space
        name, options = self.space
        same = confirmed_name("space", "this search", name, name, known=(), kept=self.code)
        return space_from_file(same, **options)


def _train_one(training: _Training, architecture: Architecture) -> Evaluation:
    """Return the score of one architecture, wherever this runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(training.config.threads)
    started = time.perf_counter()
    try:
        with seeded(training.seed):
            network = training.opened.build(architecture, path=True)
        trained = train(
            network,
            training.data,
            training.config.recipe,
            epochs=training.config.epochs,
            seed=training.seed,
            device=_own_device(training.device),
            sieve=training.sieve.name,
            sieve_options=dict(training.sieve.options),
        )
    except DivergedError:  # at what image is not known
        effort = {"train_images": 0.0, "train_seconds": time.perf_counter() - started}
        return Evaluation(math.nan, {"accuracy": 0.0, **effort})
    finally:
        torch.set_num_threads(before)
    details = {
        "accuracy": trained.evaluation.accuracy,
        "loss": trained.history[-1]["loss"],
        "train_images": sum(r.get("images", len(training.data.train)) for r in trained.history),
        "train_seconds": time.perf_counter() - started,
    }
    return Evaluation(trained.evaluation.accuracy, details)


def _own_device(name: str) -> str:
    """Return the device of this worker: its own of several of a kind."""
    device = pick_device(name)
    if device.type == "cpu" or ":" in name:
        return str(device)
    return f"{device.type}:{worker_number() % torch.accelerator.device_count()}"
