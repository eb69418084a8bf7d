"""SupernetEvaluator: train the sampled path one epoch, then score it on the validation split.

One epoch is one pass over all training images on one fixed path; the score is the fraction of
the whole validation split that the path gets right. Weights are shared between paths and never
reset. Only the parameters of the path are handed to the optimizer, so nothing else moves, decays
or costs time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpnas.architecture import Architecture
from ddpnas.data import Data, Loader
from ddpnas.distributed import ALONE, Processes, synchronise_norms
from ddpnas.errors import DivergedError, OptionError
from ddpnas.evaluators.base import Evaluation
from ddpnas.space import SearchSpace
from ddpnas.training.epoch import accuracy, pick_device, place, train_epoch

__all__ = ["SupernetConfig", "SupernetEvaluator"]


@dataclass(frozen=True)
class SupernetConfig:
    """How the shared weights are trained.

    Args:
        batch_size: images a training step; None is 128, and less for small sets, see
            :meth:`ddpnas.data.Loader.batch_size`.
        eval_batch_size: images a validation step, at most; statistics are taken over them.
        lr: first learning rate of SGD; it falls along a cosine over all epochs of the search.
        lr_min: last learning rate.
        momentum: of SGD.
        weight_decay: of the path's parameters.
        clip: largest norm of the path's gradient, 0 for none.
    """

    batch_size: int | None = None
    eval_batch_size: int = 500
    lr: float = 0.1
    lr_min: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0


class SupernetEvaluator:
    """Scores paths of one supernet that is trained as it goes.

    Args:
        space: makes the supernet; its input shape and classes are those of ``data``.
        data: its training split trains, its validation split scores.
        evaluations: how many will be asked in all; the length of the learning-rate schedule.
        config: see :class:`SupernetConfig`.
        seed: of the initial weights and of every epoch's shuffling and augmentation. An epoch's
            randomness depends on the seed and its number alone.
        device: "auto", "cpu", "cuda", ...
        processes: those that search together, each on its part of every training batch and on
            validation batches of its own; they take their own devices.

    Raises:
        OptionError: a setting out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        evaluations: int,
        config: SupernetConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        processes: Processes = ALONE,
    ) -> None:
        self.config = config or SupernetConfig()
        sizes = (self.config.batch_size, self.config.eval_batch_size)
        if any(size is not None and size < 1 for size in sizes) or self.config.lr <= 0:
            raise OptionError("batch sizes are at least 1 and the learning rate is above 0")
        self.device = pick_device(device) if processes.size == 1 else processes.device
        self._processes = processes
        self._seed = seed
        self._evaluations = evaluations
        self._count = 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.supernet = space.supernet()
        place(self.supernet, self.device)
        synchronise_norms(self.supernet, processes)
        processes.copy_first([*self.supernet.parameters(), *self.supernet.buffers()])
        self._parameters = list(self.supernet.parameters())
        self._optimizer = torch.optim.SGD(
            self._parameters,
            lr=self.config.lr,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, T_max=max(1, evaluations), eta_min=self.config.lr_min
        )
        self._train = Loader(data, [data.train], self.device, processes)
        self._valid = Loader(data, [data.valid], self.device, processes)
        self._batch_size = self._train.batch_size(self.config.batch_size)
        if self._batch_size < processes.size:
            raise OptionError(
                f"a batch of {self._batch_size} images cannot be split over {processes.size} "
                f"processes; use fewer"
            )

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the validation accuracy of each path after one epoch on it.

        Details: ``loss`` (mean training cross-entropy), ``lr``, ``train_seconds``,
        ``valid_seconds``.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        for architecture in architectures:
            yield self._evaluate(architecture)

    def _evaluate(self, architecture: Architecture) -> Evaluation:
        self.supernet.set_path(architecture)
        path = self.supernet.path_parameters()
        group = self._optimizer.param_groups[0]
        lr = float(group["lr"])
        group["params"] = path
        started = time.perf_counter()
        try:
            loss = self._train_path(path)
        except DivergedError as error:
            raise DivergedError(
                f"{error} in epoch {self._count + 1} of {self._evaluations}, at learning rate "
                f"{lr:.3g}; try --supernet.lr {self.config.lr / 4:g}"
            ) from None
        finally:
            group["params"] = self._parameters
        trained = time.perf_counter()
        self.supernet.eval()
        batches = self._valid.eval_batches(self.config.eval_batch_size)
        score = accuracy(self.supernet, batches, self._processes)
        self._processes.check_equal("weights", repr(architecture), path)
        self._count += 1
        if self._count < self._evaluations:  # a cosine would rise again
            self._schedule.step()
        seconds = {
            "train_seconds": trained - started,
            "valid_seconds": time.perf_counter() - trained,
        }
        return Evaluation(score, {"loss": loss, "lr": lr, **seconds})

    def _train_path(self, path: list[torch.nn.Parameter]) -> float:
        self.supernet.train()
        seed = int(np.random.SeedSequence([self._seed, self._count]).generate_state(1)[0])
        with torch.random.fork_rng():
            torch.manual_seed(seed + self._processes.rank)  # of dropout: other units in each
            return train_epoch(
                self.supernet,
                self._train.train_batches(self._batch_size, seed),
                self._optimizer,
                path,
                clip=self.config.clip,
                processes=self._processes,
            )

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights and optimizer state as tensors, and the rest as plain data."""
        tensors = {f"supernet.{k}": v for k, v in self.supernet.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            if (buffer := state.get("momentum_buffer")) is not None:
                tensors[f"momentum.{index}"] = buffer
        return tensors, {"count": self._count, "schedule": self._schedule.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        part = "supernet."
        self.supernet.load_state_dict(
            {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
        )
        for index, parameter in enumerate(self._parameters):
            if (buffer := tensors.get(f"momentum.{index}")) is not None:
                self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                    parameter
                ).copy_(buffer)
        self._count = plain["count"]
        self._schedule.load_state_dict(dict(plain["schedule"]))
        self._optimizer.param_groups[0]["lr"] = self._schedule.get_last_lr()[0]
