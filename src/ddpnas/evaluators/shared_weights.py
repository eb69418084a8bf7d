"""SharedWeights: the weights of a supernet, and how an epoch of a search trains them.

Only parameters of the trained paths are handed to the optimizer, so nothing else moves, decays or
costs time. An epoch's randomness depends on the seed and the number of the epoch alone.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.data.augment import Augmentation
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.errors import DataError, DivergedError, OptionError
from ddpnas.evaluators._compile import compile_options
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.checkpoint import (
    load_optimizer,
    optimizer_state,
    with_prefix,
    without_prefix,
)
from ddpnas.training.cuda_graphs import Captures, Step
from ddpnas.training.device import autocast, place
from ddpnas.training.distributed import Processes
from ddpnas.training.steps import TrainStep, train_epoch
from ddpnas.training.sync_norm import synchronize_norms
from ddpnas.utils.seeds import derive_seed, seeded

__all__ = ["Round", "SharedWeights", "make_sgd"]

_PASSES = 16  # for each option of a decision, before the first score
_STEPS, _MOST_PASSES = 2_500, 300  # passes of a small set have few steps
_RECORDED = 320  # paths that recorded steps are made of: recording one costs as much as a step


@dataclass(frozen=True)
class Round:
    """The epochs that train the weights before a batch of architectures is scored.

    Attributes:
        architectures: the batch.
        epochs: how many.
        warmup_epochs: Number of leading epochs that train every option. Later epochs train only
            options that occur in the batch.
        scored: architectures that were scored before.
    """

    architectures: Sequence[Architecture]
    epochs: int
    warmup_epochs: int
    scored: int


class SharedWeights:
    """Trains a supernet, an epoch at a time.

    Args:
        space: makes the supernet; its input shape and classes are those of ``data``.
        data: its training split trains.
        evaluations: how many architectures will be scored in all; the length of the
            learning-rate schedule where each is trained on its own.
        config: how.
        seed: of the initial weights and of every epoch's shuffling and augmentation.
        device: of the supernet.
        processes: those that train together, each on its part of every batch.

    Attributes:
        supernet: the network.
        warmup_epochs: of the first round, see ``SupernetConfig``.

    Raises:
        OptionError: a path's images of a step are fewer than the processes.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        evaluations: int,
        config: SupernetConfig,
        seed: int,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self._config, self._seed, self._evaluations = config, seed, evaluations
        self._device, self._processes = device, processes
        self._epochs = 0  # trained
        with seeded(seed):
            self.supernet = space.supernet()
        place(self.supernet, device)
        synchronize_norms(self.supernet, processes)
        processes.copy_first([*self.supernet.parameters(), *self.supernet.buffers()])
        if config.compile is not None:
            compile_options(self.supernet, config.compile)
        graphs = config.cuda_graphs and processes.size == 1
        self._captures = Captures.on(device) if graphs else Captures(None)
        self._pool: list[Step] = []  # this round's, where they are drawn beforehand
        self._parameters = list(self.supernet.parameters())
        self._optimizer = make_sgd(self._parameters, config, device)
        self._shard = processes.shard
        self._train = Loader(data, [data.train], device, shard=self._shard)
        self._all = JointDistribution.uniform(space.decisions)
        options = self._all.max_survivors
        paths = options if config.training == "fair" else 1
        self._batch_size = self._train.batch_size(config.batch_size, paths)
        given = config.warmup_epochs
        self.warmup_epochs = self._enough(options) if given is None else given
        if not config.augmented(self.warmup_epochs / options):
            self._train.augmentation = Augmentation(crop="none", flip=False)
        if len(self._train) < paths:
            raise DataError(
                f"{len(self._train)} training images are too few for a step, which takes {paths} "
                f"paths with images of their own; give more images"
            )
        smallest = min(self._batch_size, len(self._train) // paths)  # images of a path's step
        if smallest < processes.size:
            raise OptionError(
                f"the {smallest} images of a path's step cannot be split over {processes.size} "
                f"processes; use fewer"
            )

    def _enough(self, options: int) -> int:
        """Return how many passes train all choices so long that their scores mean something."""
        steps = self._train.steps(min(options * self._batch_size, len(self._train)))
        return max(_PASSES * options, min(_MOST_PASSES, math.ceil(_STEPS / steps)))

    def train_path(self, architecture: Architecture, scored: int) -> dict[str, float]:
        """Train one path an epoch; return what was measured.

        Args:
            architecture: the path.
            scored: architectures that were scored before, for the learning rate.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        started = time.perf_counter()
        self.supernet.set_path(architecture)
        self.supernet.train()
        path = self.supernet.path_parameters()
        group = self._optimizer.param_groups[0]
        lr = self._set_lr(scored / max(1, self._evaluations))
        group["params"] = path
        seed = self._epoch_seed()
        try:
            with seeded(seed + self._processes.rank):  # dropout: other units in each
                step = TrainStep(
                    self.supernet,
                    self._optimizer,
                    path,
                    clip=self._config.clip,
                    processes=self._processes,
                    precision=self._config.mixed_precision,
                )
                loss = train_epoch(
                    self._captures.step(step),
                    self._train.train_batches(self._batch_size, seed),
                )
        except DivergedError as error:
            raise self._diverged(error, lr) from None
        finally:
            group["params"] = self._parameters
        self._epochs += 1
        self._processes.check_equal("weights", repr(architecture), path)
        images = self._train.steps(self._batch_size) * min(self._batch_size, len(self._train))
        return _measured(images, loss, lr, started)

    def train_together(self, round_: Round, done: int) -> dict[str, float]:
        """Train an epoch of all choices, of a batch's, or of its paths; return what was measured.

        Args:
            round_: the epochs it is one of.
            done: how many of them are over.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        started = time.perf_counter()
        self.supernet.train()
        seed = self._epoch_seed()
        rng = np.random.default_rng(seed)
        alive = self._all if done < round_.warmup_epochs else self._occurring(round_.architectures)
        at_once = alive.max_survivors if self._config.training == "fair" else 1
        batch_size = min(self._batch_size * at_once, len(self._train))
        steps = self._train.steps(batch_size)
        if done in (0, round_.warmup_epochs) or not self._pool:
            groups = self._drawn_beforehand(round_, alive, at_once)
            self._pool = [self._captures.step(self._step_on(paths, batch_size)) for paths in groups]
        order = rng.permutation(len(self._pool))
        losses: list[Tensor] = []
        lr = self._config.lr
        with seeded(seed + self._processes.rank):
            for step, batch in enumerate(self._train.train_batches(batch_size, seed)):
                epochs = done + step / steps
                if self._config.interleave:
                    lr = self._set_lr((round_.scored + epochs) / max(1, self._evaluations))
                    train = self._pool[(done * steps + step) % len(self._pool)]
                else:
                    lr = self._set_lr(epochs / round_.epochs)
                    if self._pool:
                        train = self._pool[order[step % len(order)]]
                    else:
                        train = self._step_on(alive.fair_cycle(rng)[:at_once], batch_size)
                losses.append(train(*batch))
        if done + 1 == round_.epochs:
            self._pool = []
        self._epochs += 1
        self._processes.check_equal("weights", "", self._parameters)
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise self._diverged(f"the training loss became {loss}", lr)
        return _measured(steps * batch_size, loss, lr, started)

    def _drawn_beforehand(
        self, round_: Round, alive: JointDistribution, at_once: int
    ) -> list[list[Architecture]]:
        """Return the paths of each of a round's steps; none if every step draws its own."""
        if self._config.interleave:
            return [[architecture] for architecture in round_.architectures]
        paths = self._config.distinct_paths
        if paths is None:
            paths = _RECORDED if self._captures.recording else 0
        rng = np.random.default_rng([self._seed, round_.scored])
        return [alive.fair_cycle(rng)[:at_once] for _ in range(math.ceil(paths / at_once))]

    def _step_on(self, paths: Sequence[Architecture], batch_size: int) -> Step:
        """Return the training step on these paths."""
        return functools.partial(self._step, paths, batch_size)

    def _step(
        self, paths: Sequence[Architecture], batch_size: int, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Train each path on its part of a batch, all weights at once; return the mean loss.

        Args:
            paths: they have about equal parts, in order.
            batch_size: of the whole batch.
            inputs: this process's shard of the batch.
            labels: likewise.
        """
        owners = torch.arange(batch_size) * len(paths) // batch_size
        whole = owners.bincount(minlength=len(paths)).tolist()
        own = self._shard.take(owners).bincount(minlength=len(paths)).tolist()
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        parts = zip(
            paths, torch.split(inputs, own), torch.split(labels, own), own, whole, strict=True
        )
        uses: Counter[torch.nn.Parameter] = Counter()
        for path, part, targets, count, of in parts:
            self.supernet.set_path(path)
            if self._config.shared_gradients == "mean":
                uses.update(self.supernet.path_parameters())
            with autocast(self._device, self._config.mixed_precision):
                loss = functional.cross_entropy(self.supernet(part), targets)
            loss = loss * (count * self._processes.size / of)
            loss.backward()
            total += loss.detach()
        for parameter, paths_of_it in uses.items():
            if paths_of_it > 1 and parameter.grad is not None:
                parameter.grad /= paths_of_it
        total = self._processes.average_gradients(self._parameters, total, 1)
        if self._config.clip > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._config.clip)
        self._optimizer.step()
        return total / len(paths)

    def _occurring(self, architectures: Sequence[Architecture]) -> JointDistribution:
        """Return a distribution whose survivors are the choices that occur in the batch."""
        masks = tuple(
            np.isin(d.options, [architecture[d.name] for architecture in architectures])
            for d in self._all.decisions
        )
        return JointDistribution(self._all.decisions, self._all.rows, masks)

    def _epoch_seed(self) -> int:
        return derive_seed(self._seed, self._epochs)

    def _set_lr(self, progress: float) -> float:
        """Set and return the learning rate at this part of its cosine, in [0, 1]."""
        low, high = self._config.lr_min, self._config.lr
        lr = low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        group = self._optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        return lr

    def _diverged(self, what: object, lr: float) -> DivergedError:
        of = f" of {self._evaluations}" if self._config.training == "path" else ""
        return DivergedError(
            f"{what} in epoch {self._epochs + 1}{of}, at learning rate {lr:.3g}; "
            f"try --evaluator-options.lr {self._config.lr / 4:g}"
        )

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights and optimizer state as tensors, and the rest as plain data."""
        tensors = with_prefix("supernet", self.supernet.state_dict())
        state, _ = optimizer_state(self._optimizer)
        tensors |= with_prefix("optimizer", state)
        return tensors, {"epochs": self._epochs}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; ``plain`` may hold more."""
        self.supernet.load_state_dict(without_prefix("supernet", tensors))
        load_optimizer(self._optimizer, without_prefix("optimizer", tensors), {})
        self._epochs = plain["epochs"]


def make_sgd(
    parameters: list[torch.nn.Parameter], config: SupernetConfig, device: torch.device
) -> torch.optim.SGD:
    """Return the optimizer of shared weights.

    On CUDA it is one kernel and reads its learning rate from the device, where a recorded step
    finds that of the day; its momentum begins as zeros, which is the same as beginning without.
    """
    cuda = device.type == "cuda"
    optimizer = torch.optim.SGD(
        parameters,
        lr=torch.tensor(config.lr, device=device) if cuda else config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=cuda or None,
    )
    if cuda and config.momentum > 0:
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _measured(images: int, loss: float, lr: float, started: float) -> dict[str, float]:
    """Return what an epoch that began then had of images, its loss, last rate and time."""
    seconds = time.perf_counter() - started
    return {"loss": loss, "lr": lr, "train_images": images, "train_seconds": seconds}
