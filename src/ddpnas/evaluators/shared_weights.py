"""SharedWeights: the weights of a supernet, and how an epoch of a search trains them.

Only the trained paths move. Other weights get no gradient, so SGD neither moves nor decays them. An
epoch's randomness depends only on the seed and the epoch's number, so a search that is resumed
between two epochs continues as if it had never stopped.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.data.augment import Augmentation
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DataError, DivergedError, OptionError
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.slice_updates import SliceUpdates
from ddpnas.space.decisions import Architecture, Decision
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.outputs import main_output
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.sorted_channels import sort_channels
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

__all__ = ["WARMUP_STEPS", "SharedWeights", "make_sgd"]

# Default warm-up: 16 passes for each option of the longest decision. A pass over a small set has
# few steps, so small sets get as many passes as make 2,500 steps, but at most 300
# (records/weight-sharing.md).
_PASSES = 16
WARMUP_STEPS, _MOST_PASSES = 2_500, 300
# Number of distinct paths in captured steps. Capturing a step costs about as much as running it.
# It only pays off when the step is replayed, so the paths must repeat. They rank as well as new
# paths at every step (records/weight-sharing.md).
_CAPTURED_PATHS = 320
_SANDWICH = 4  # paths in a sandwich step: the largest, the smallest and two random ones


class SharedWeights:
    """Trains a supernet one epoch at a time.

    Args:
        space: Creates the supernet. Its input shape and classes must be those of ``data``.
        data: Its training split trains the supernet.
        evaluations: Number of architectures that the whole search scores. If each is trained on its
            own, this is the length of the learning-rate schedule, in epochs.
        config: How to train.
        seed: Seed for the initial weights and for each epoch's shuffling and augmentation.
        device: Device of the supernet.
        processes: The processes that train together, each on its shard of every batch.
        sieve: Which training images an epoch reads.

    Attributes:
        supernet: The network with its present weights.
        warmup_epochs: Number of epochs before the first score, see :class:`SupernetConfig`; 0 with
            ``training="path"``.
        epochs: Number of epochs trained since the search began.

    Raises:
        DataError: There are fewer training images than paths in a step.
        OptionError: A path has fewer images in a step than there are processes, or a sieve cannot
            run.
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
        sieve: SieveConfig,
    ) -> None:
        self._config, self._seed, self._evaluations = config, seed, evaluations
        self._input_shape = data.input_shape
        self._device, self._processes = device, processes
        self.epochs = 0
        with seeded(seed):
            self.supernet = space.supernet()
        place(self.supernet, device)
        synchronize_norms(self.supernet, processes)
        processes.copy_first([*self.supernet.parameters(), *self.supernet.buffers()])
        graphs = config.cuda_graphs and processes.size == 1 and not sieve.sieves
        self._captures = Captures.on(device) if graphs else Captures(None)
        # The captured steps of the warm-up; empty if every step draws new paths. They are kept from
        # epoch to epoch because a captured step is replayed.
        self._pool: list[Step] = []
        self._pool_part = 0  # the part of the warm-up that it was drawn for
        self._parameters = list(self.supernet.parameters())
        self._optimizer = make_sgd(self._parameters, config, device)
        mean = config.shared_gradients == "mean"
        self._updates = SliceUpdates(self.supernet, self._optimizer, mean=mean)
        self._shard = processes.shard
        self._train = Loader(data, [data.train], device, shard=self._shard)
        self._all = JointDistribution.uniform(space.decisions)
        # The sizes of decisions about sizes, from small to large.
        self._sizes = {d.name: sizes for d in space.decisions if (sizes := _by_size(d))}
        if config.training == "sandwich" and not self._sizes:
            raise OptionError(
                f"training 'sandwich' needs decisions about sizes, such as widths, and space "
                f"{space.name!r} has none; use 'fair'"
            )
        for word in config.phases:
            if not any(word in name for name in self._sizes):
                raise OptionError(
                    f"no decision about a size of space {space.name!r} has {word!r} in its name; "
                    f"there are {', '.join(list(self._sizes)[:5])}, ..."
                )
        # A fair step trains each option once, in as many disjoint paths as the longest decision has
        # options. All paths of a step together need no more images than there are.
        options = self._all.max_survivors
        self._paths = paths = options if config.training == "fair" else 1
        self._batch_size = self._train.batch_size(config.batch_size, paths)
        if config.training == "path":
            self.warmup_epochs = 0
        elif config.warmup_epochs is None:
            self.warmup_epochs = self._enough(options)
            if config.training == "sandwich":  # a pass trains several paths on every image
                self.warmup_epochs = math.ceil(self.warmup_epochs / _SANDWICH)
        else:
            self.warmup_epochs = config.warmup_epochs
        if not config.augmented(self.warmup_epochs / options):
            self._train.augmentation = Augmentation(crop="none", flip=False)
        self._begin_sieve(sieve)
        fewest = self._train.sieve.fewest
        if fewest < paths:
            raise DataError(
                f"{fewest} training images are too few for a step, which takes {paths} "
                f"paths with images of their own; give more images"
            )
        smallest = min(self._batch_size, fewest // paths)  # images of a path's step
        if smallest < processes.size:
            raise OptionError(
                f"the {smallest} images of a path's step cannot be split over {processes.size} "
                f"processes; use fewer"
            )

    def _begin_sieve(self, config: SieveConfig) -> None:
        """Let the training images go through a sieve."""
        by_path = self._config.training == "path"
        if config.narrows and by_path:
            raise OptionError(
                f"sieve {config.name!r} changes the classes between two scores of training 'path', "
                f"which then do not compare; use training fair"
            )
        epochs = self._evaluations if by_path else self.warmup_epochs
        self._train.sieve = config.create(self._train.labels, max(1, epochs), self._seed)

    def _enough(self, options: int) -> int:
        """Return the number of passes after which scores are worth something.

        Args:
            options: Number of options of the longest decision, which share the images of a pass.
        """
        steps = self._train.steps(min(options * self._batch_size, len(self._train)))
        return max(_PASSES * options, min(_MOST_PASSES, math.ceil(WARMUP_STEPS / steps)))

    def train_path(self, architecture: Architecture) -> dict[str, float]:
        """Train one path for an epoch; return what was measured.

        Args:
            architecture: The path.

        Raises:
            DivergedError: The loss became NaN or infinite; says in which epoch and what to try.
        """
        started = time.perf_counter()
        self.supernet.set_path(architecture)
        self.supernet.train()
        path = self.supernet.path_parameters()
        # The published way has one cosine over the search, an epoch for each score. The rate stays
        # the same within an epoch.
        lr = self._set_lr(self.epochs / max(1, self._evaluations))
        # SGD gets the path alone, so that nothing else moves, decays or costs time.
        self._updates.begin(path)
        seed = self._epoch_seed()
        try:
            with seeded(seed + self._processes.rank):  # dropout drops other units in each process
                step = TrainStep(
                    self.supernet,
                    self._optimizer,
                    path,
                    clip=self._config.clip,
                    processes=self._processes,
                    precision=self._config.mixed_precision,
                    observe=self._train.observe if self._train.sieve.observes else None,
                )
                loss = train_epoch(
                    self._captures.step(step),
                    self._train.train_batches(self._batch_size, seed),
                )
        except DivergedError as error:
            raise self._diverged(error, lr) from None
        finally:
            self._updates.end()
        self.epochs += 1
        self._processes.check_equal("weights", repr(architecture), path)
        images = self._train.steps(self._batch_size) * min(self._batch_size, len(self._train))
        self._train.sieve.end_epoch(self._processes.sum)
        return _measured(images, loss, lr, started)

    def train_all(self) -> dict[str, float]:
        """Train all options for an epoch of the warm-up; return what was measured.

        Raises:
            DivergedError: The loss became NaN or infinite; says in which epoch and what to try.
        """
        started = time.perf_counter()
        self._sort_opening_widths()
        self.supernet.train()
        seed = self._epoch_seed()
        batch_size = min(self._batch_size * self._paths, len(self._train))
        steps = self._train.steps(batch_size)
        train = self._steps(np.random.default_rng(seed), batch_size)
        losses: list[Tensor] = []
        narrowed = self._train.sieve.narrowing(self.supernet)
        with seeded(seed + self._processes.rank), narrowed:  # dropout differs between processes
            for step, batch in enumerate(self._train.train_batches(batch_size, seed)):
                # One cosine, falling from step to step. It ends with the warm-up, so that scores
                # come from settled weights.
                lr = self._set_lr((self.epochs + step / steps) / self.warmup_epochs)
                losses.append(next(train)(*batch))
        self._processes.check_equal("weights", "", self._parameters)
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise self._diverged(f"the training loss became {loss}", lr)
        self.epochs += 1
        self._train.sieve.end_epoch(self._processes.sum)
        if self.epochs == self.warmup_epochs:
            self._pool = []  # gives the memory of captured steps back before the scores
        return _measured(steps * batch_size, loss, lr, started)

    def _steps(self, rng: np.random.Generator, batch_size: int) -> Iterator[Step]:
        """Yield the steps of an epoch, without end.

        Args:
            rng: Random numbers of the epoch.
            batch_size: Number of images in the whole batch, over all processes.
        """
        part = self._part(self.epochs)
        if self._captures.recording and (not self._pool or self._pool_part != part):
            # The draw depends on seed and part alone: after a resume it gives the same pool.
            draw, self._pool_part = np.random.default_rng([self._seed, part]), part
            self._pool = [
                self._captures.step(self._new_step(draw, batch_size))
                for _ in range(math.ceil(_CAPTURED_PATHS / self._paths))
            ]
        if self._pool:  # each step equally often, in another order every epoch
            yield from itertools.cycle([self._pool[i] for i in rng.permutation(len(self._pool))])
        while True:
            yield self._new_step(rng, batch_size)

    def _new_step(self, rng: np.random.Generator, batch_size: int) -> Step:
        """Return a step on newly drawn paths, which are disjoint if the batch is split."""
        if self._config.training == "sandwich":
            return functools.partial(self._sandwich_step, self._sandwich(rng), batch_size)
        return functools.partial(self._step, self._all.fair_cycle(rng)[: self._paths], batch_size)

    def _step(
        self, paths: Sequence[Architecture], batch_size: int, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Train each path on its part of a batch in one update; return the mean loss of the paths.

        Args:
            paths: The paths. They get parts of about the same size, in order.
            batch_size: Number of images in the whole batch, over all processes.
            inputs: Images of this process's shard, of shape (images, channels, height, width).
            labels: Labels of this process's shard, of shape (images,).
        """
        # owners[i] is the path that trains on image i of the whole batch. Processes see every
        # size-th image, so a path may have one image more in one process than in another.
        owners = torch.arange(batch_size) * len(paths) // batch_size
        whole = owners.bincount(minlength=len(paths)).tolist()
        own = self._shard.take(owners).bincount(minlength=len(paths)).tolist()
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        answers: list[Tensor] = []
        parts = zip(
            paths, torch.split(inputs, own), torch.split(labels, own), own, whole, strict=True
        )
        for path, part, targets, count, of in parts:
            self.supernet.set_path(path)
            self._updates.note_path()
            with autocast(self._device, self._config.mixed_precision):
                outputs = main_output(self.supernet(part))
                loss = functional.cross_entropy(outputs, targets)
            answers.append(outputs.detach())
            # `loss` is the mean over this process's `count` images of the path, which has `of` in
            # all processes. The path's mean is sum(loss * count) / of, a sum over processes, but
            # average_gradients below divides by their number. So multiply by it here.
            loss = loss * (count * self._processes.size / of)
            loss.backward()
            total += loss.detach()
        if self._train.sieve.observes:
            self._train.observe(torch.cat(answers))
        return self._update(total) / len(paths)

    def _sandwich(self, rng: np.random.Generator) -> list[Architecture]:
        """Return the largest path, the smallest and two random ones; in phases, each once."""
        drawn = [dict(self._all.fair_cycle(rng)[0]) for _ in range(_SANDWICH)]
        closed = self._config.phases[self._part(self.epochs) :]
        for name, sizes in self._sizes.items():
            drawn[0][name], drawn[1][name] = sizes[-1], sizes[0]
            if any(word in name for word in closed):
                for path in drawn:
                    path[name] = sizes[-1]
        paths = [Architecture(path) for path in drawn]
        return list(dict.fromkeys(paths)) if closed else paths

    def _part(self, epoch: int) -> int:
        """Return the part of the warm-up in an epoch, see ``phases`` of :class:`SupernetConfig`."""
        return (len(self._config.phases) + 1) * epoch // max(1, self.warmup_epochs)

    def _sort_opening_widths(self) -> None:
        """Put the most important channels first where widths open in this epoch."""
        begun = self._part(self.epochs - 1) if self.epochs else 0
        words = self._config.phases[begun : self._part(self.epochs)]
        widths = self.supernet.slices.decisions
        opening = [d for d in self._sizes if d in widths and any(word in d for word in words)]
        if opening:
            sort_channels(
                self.supernet,
                {name: [int(size) for size in self._sizes[name]] for name in widths},
                opening,
                self._input_shape,
                lambda weight: self._optimizer.state.get(weight, {}).get("momentum_buffer"),
            )

    def _sandwich_step(
        self, paths: Sequence[Architecture], batch_size: int, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Train all paths on the whole batch in one update; return their mean loss.

        The first learns from the labels, the others from the outputs of the first (Yu et al.,
        "BigNAS", ECCV 2020, arXiv 2003.11142).

        Args:
            paths: The paths, the largest first.
            batch_size: Number of images in the whole batch, over all processes.
            inputs: Images of this process's shard, of shape (images, channels, height, width).
            labels: Labels of this process's shard, of shape (images,).
        """
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        targets = labels
        for path in paths:
            self.supernet.set_path(path)
            self._updates.note_path()
            with autocast(self._device, self._config.mixed_precision):
                outputs = main_output(self.supernet(inputs))
                loss = functional.cross_entropy(outputs, targets)
            loss = loss * (len(labels) * self._processes.size / batch_size)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if targets is labels:
                self._train.observe(outputs)
                targets = outputs.detach().float().softmax(dim=1)
        return self._update(total) / len(paths)

    def _update(self, total: Tensor) -> Tensor:
        """Do one step with the gradients that there are; return the loss over all processes.

        Args:
            total: Sum of the losses of the paths in this process.
        """
        updated = self._updates.gather()
        # Losses have their weights already: every process counts as one item.
        total = self._processes.average_gradients(updated, total, 1)
        if self._config.clip > 0:
            torch.nn.utils.clip_grad_norm_(updated, self._config.clip)
        self._updates.begin(updated)
        self._optimizer.step()
        self._updates.end()
        return total

    def _epoch_seed(self) -> int:
        return derive_seed(self._seed, self.epochs)

    def _set_lr(self, progress: float) -> float:
        """Set and return the learning rate.

        Args:
            progress: Part of the cosine that is over, from 0 to 1; more counts as 1.
        """
        low, high = self._config.lr_min, self._config.lr
        lr = low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        group = self._optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):  # a captured step reads this very tensor
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        return lr

    def _diverged(self, what: object, lr: float) -> DivergedError:
        of = f" of {self._evaluations}" if self._config.training == "path" else ""
        return DivergedError(
            f"{what} in epoch {self.epochs + 1}{of}, at learning rate {lr:.3g}; "
            f"try --evaluator-options.lr {self._config.lr / 4:g}"
        )

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights and optimizer state as tensors, and the rest as plain data."""
        tensors = with_prefix("supernet", self.supernet.state_dict())
        state, _ = optimizer_state(self._optimizer)
        tensors |= with_prefix("optimizer", state)
        tensors |= with_prefix("sieve", self._train.sieve.state_dict())
        return tensors, {"epochs": self.epochs}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; ``plain`` may hold more."""
        self.supernet.load_state_dict(without_prefix("supernet", tensors))
        load_optimizer(self._optimizer, without_prefix("optimizer", tensors), {})
        self._train.sieve.load_state_dict(without_prefix("sieve", tensors))
        self.epochs = plain["epochs"]


def _by_size(decision: Decision) -> list[str] | None:
    """Return the options from small to large; None if they are not sizes."""
    if all(option.isdecimal() for option in decision.options):
        return sorted(decision.options, key=int)
    return None


def make_sgd(
    parameters: list[torch.nn.Parameter], config: SupernetConfig, device: torch.device
) -> torch.optim.SGD:
    """Return the optimizer of the shared weights.

    On CUDA it is a single fused kernel. It reads its learning rate from the device, so that a
    captured step sees changes of it.

    Args:
        parameters: All parameters of the supernet.
        config: Gives learning rate, momentum and weight decay.
        device: Device of the parameters.
    """
    cuda = device.type == "cuda"
    optimizer = torch.optim.SGD(
        parameters,
        lr=torch.tensor(config.lr, device=device) if cuda else config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=cuda or None,
    )
    # A captured step cannot allocate momentum buffers on first use. Zeros are the same beginning.
    if cuda and config.momentum > 0:
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _measured(images: int, loss: float, lr: float, started: float) -> dict[str, float]:
    """Return the measurements of an epoch that began at the time ``started``."""
    seconds = time.perf_counter() - started
    return {"loss": loss, "lr": lr, "train_images": images, "train_seconds": seconds}
