"""SupernetEvaluator: weights shared by all paths, trained as the search goes, score its paths.

How the weights are trained between the scores is the setting ``training``:

* ``"path"``, the paper's: each architecture's own path is trained one epoch and then scored, so
  that every score comes from other weights, and a path from those that the epoch before left.
* ``"fair"``: a batch of architectures is trained together before any of them is scored. In every
  step each choice that occurs in the batch is trained once, in disjoint random paths over the same
  images whose gradients are summed (strict fairness: Chu et al., "FairNAS", ICCV 2021,
  arXiv 1907.01845). All scores of the batch come from the same weights and can be compared, and
  what the strategy pruned takes no more time.
* ``"uniform"``: likewise, with one random path a step (Guo et al., "Single Path One-Shot", ECCV
  2020, arXiv 1904.00420).

Only parameters of the trained paths are handed to the optimizer, so nothing else moves, decays or
costs time. A score is measured on the whole validation split: the accuracy, or the negative
cross-entropy, which tells paths apart that get as many images right.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.architecture import Architecture
from ddpnas.data import Data, Loader
from ddpnas.data.augment import Share
from ddpnas.distributed import ALONE, Processes, synchronise_norms
from ddpnas.distribution import JointDistribution
from ddpnas.errors import DivergedError, OptionError, nearest
from ddpnas.evaluators.base import Evaluation
from ddpnas.space import SearchSpace
from ddpnas.training.epoch import accuracy_and_loss, pick_device, place, train_epoch

__all__ = ["SupernetConfig", "SupernetEvaluator"]

_TRAININGS = ("path", "fair", "uniform")
_SCORES = ("accuracy", "loss")


@dataclass(frozen=True)
class SupernetConfig:
    """How the shared weights are trained.

    Args:
        training: "path", "fair" or "uniform", see the module's text.
        warmup_epochs: passes over the training images before the first score, over all choices
            alike; with "path" there are none. A fair pass costs as many times more than one of
            a single path as the decisions have options.
        epochs: passes before the scores of each batch, on the choices that occur in it; the
            first batch has the warm-up besides. With "path" it is always one pass a score. Three
            take as long as the published schedule, with T = 3 and a stage a batch.
        score: "accuracy" (a fraction), or "loss" (the negative mean cross-entropy).
        batch_size: images a training step; None is 128, and less for small sets, see
            :meth:`ddpnas.data.Loader.batch_size`.
        eval_batch_size: images a validation step, at most; statistics are taken over them.
        lr: first learning rate of SGD. With "path" it falls along a cosine over all epochs of
            the search, otherwise over the passes before each batch of scores, so that scores
            come from settled weights.
        lr_min: last learning rate.
        momentum: of SGD.
        weight_decay: of the parameters of the trained paths.
        clip: largest norm of the gradient of a step, 0 for none.
    """

    training: Literal["path", "fair", "uniform"] = "path"
    warmup_epochs: int = 0
    epochs: int = 3
    score: Literal["accuracy", "loss"] = "accuracy"
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
        _check(self.config)
        self.device = pick_device(device) if processes.size == 1 else processes.device
        self._processes = processes
        self._space = space
        self._seed = seed
        self._evaluations = evaluations
        self._count = 0  # scores given
        self._epochs = 0  # trained
        self._round = 0  # epochs trained of those before the next batch
        self._ready = 0  # architectures of the present batch still to score
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
        share = Share(processes.rank, processes.size)
        self._train = Loader(data, [data.train], self.device, share=share)
        self._valid = Loader(data, [data.valid], self.device, share=share)
        self._batch_size = self._train.batch_size(self.config.batch_size)
        if self._batch_size < processes.size:
            raise OptionError(
                f"a batch of {self._batch_size} images cannot be split over {processes.size} "
                f"processes; use fewer"
            )

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[dict[str, float]]:
        """Train what has to be trained before the batch is scored; yield after each epoch.

        The state may be saved whenever this yields. Nothing is done where the batch, or the
        part of it that an interrupted search still has to score, is ready. Yields ``loss``
        (mean training cross-entropy), ``lr`` (the epoch's last), ``train_images`` and
        ``train_seconds``.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        if self.config.training == "path" or self._ready > 0:
            return
        alive = self._occurring(architectures)
        length = self.config.epochs + (self.config.warmup_epochs if self._count == 0 else 0)
        if length == 0:
            self._ready = len(architectures)
        while self._ready == 0:
            started = time.perf_counter()
            loss, lr = self._train_together(alive, self._round, length)
            self._round += 1
            if self._round >= length:
                self._round, self._ready = 0, len(architectures)
            yield {"loss": loss, "lr": lr, **self._paced(started)}

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the score of each path; see ``training`` for what comes before.

        Details: ``accuracy`` (a fraction) and ``valid_loss`` on the validation split,
        ``valid_seconds``; with training "path" also ``loss`` (mean training cross-entropy),
        ``lr``, ``train_images`` and ``train_seconds``.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        for _ in self.prepare(architectures):
            pass
        for architecture in architectures:
            self.supernet.set_path(architecture)
            trained = self._train_path(architecture) if self.config.training == "path" else {}
            evaluation = self.score(architecture)
            self._count += 1
            self._ready = max(0, self._ready - 1)
            yield Evaluation(evaluation.score, {**trained, **evaluation.details})

    def score(self, architecture: Architecture) -> Evaluation:
        """Return the score of a path with the present weights; nothing is trained."""
        started = time.perf_counter()
        self.supernet.set_path(architecture)
        self.supernet.eval()
        batches = self._valid.eval_batches(self.config.eval_batch_size)
        accuracy, loss = accuracy_and_loss(self.supernet, batches, self._processes)
        return Evaluation(
            accuracy if self.config.score == "accuracy" else -loss,
            {
                "accuracy": accuracy,
                "valid_loss": loss,
                "valid_seconds": time.perf_counter() - started,
            },
        )

    def _train_path(self, architecture: Architecture) -> dict[str, float]:
        """Train the active path one epoch."""
        started = time.perf_counter()
        self.supernet.train()
        path = self.supernet.path_parameters()
        group = self._optimizer.param_groups[0]
        lr = self._set_lr(self._count / max(1, self._evaluations))
        group["params"] = path
        seed = self._epoch_seed()
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed + self._processes.rank)  # dropout: other units in each
                loss = train_epoch(
                    self.supernet,
                    self._train.train_batches(self._batch_size, seed),
                    self._optimizer,
                    path,
                    clip=self.config.clip,
                    processes=self._processes,
                )
        except DivergedError as error:
            raise self._diverged(error, lr) from None
        finally:
            group["params"] = self._parameters
        self._epochs += 1
        self._processes.check_equal("weights", repr(architecture), path)
        return {"loss": loss, "lr": lr, **self._paced(started)}

    def _train_together(self, alive: JointDistribution, done: int, of: int) -> tuple[float, float]:
        """Train an epoch on random paths of what is alive; return mean loss and last rate.

        Args:
            alive: its survivors are trained.
            done: epochs of this round before, for the learning rate.
            of: epochs of this round.
        """
        self.supernet.train()
        seed = self._epoch_seed()
        rng = np.random.default_rng(seed)
        steps = self._train.steps(self._batch_size)
        losses: list[Tensor] = []
        lr = self.config.lr
        with torch.random.fork_rng():
            torch.manual_seed(seed + self._processes.rank)
            for step, (inputs, labels) in enumerate(
                self._train.train_batches(self._batch_size, seed)
            ):
                lr = self._set_lr((done * steps + step) / (of * steps))
                cycle = alive.fair_cycle(rng)
                paths = cycle if self.config.training == "fair" else cycle[:1]
                losses.append(self._step(paths, inputs, labels))
        self._epochs += 1
        self._processes.check_equal("weights", "", self._parameters)
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise self._diverged(f"the training loss became {loss}", lr)
        return loss, lr

    def _step(self, paths: Sequence[Architecture], inputs: Tensor, labels: Tensor) -> Tensor:
        """Sum the gradients of the paths and move their weights; return the mean loss."""
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for path in paths:
            self.supernet.set_path(path)
            loss = functional.cross_entropy(self.supernet(inputs), labels)
            loss = self._processes.weighted(loss, len(labels))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        total = self._processes.average_gradients(self._parameters, total, len(labels))
        if self.config.clip > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip)
        self._optimizer.step()
        return total / len(paths)

    def _occurring(self, architectures: Sequence[Architecture]) -> JointDistribution:
        """Return a distribution whose survivors are the choices that occur in the batch."""
        uniform = JointDistribution.uniform(self._space.decisions)
        masks = tuple(
            np.isin(d.options, [architecture[d.name] for architecture in architectures])
            for d in self._space.decisions
        )
        return JointDistribution(uniform.decisions, uniform.rows, masks)

    def _paced(self, started: float) -> dict[str, float]:
        """Return how many images an epoch had and, if it began then, how long it took."""
        images = self._train.steps(self._batch_size) * min(self._batch_size, len(self._train))
        return {"train_images": images, "train_seconds": time.perf_counter() - started}

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence([self._seed, self._epochs]).generate_state(1)[0])

    def _set_lr(self, progress: float) -> float:
        """Set and return the learning rate at this part of its cosine, in [0, 1]."""
        low, high = self.config.lr_min, self.config.lr
        lr = low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        self._optimizer.param_groups[0]["lr"] = lr
        return lr

    def _diverged(self, what: object, lr: float) -> DivergedError:
        of = f" of {self._evaluations}" if self.config.training == "path" else ""
        return DivergedError(
            f"{what} in epoch {self._epochs + 1}{of}, at learning rate {lr:.3g}; "
            f"try --supernet.lr {self.config.lr / 4:g}"
        )

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights and optimizer state as tensors, and the rest as plain data."""
        tensors = {f"supernet.{k}": v for k, v in self.supernet.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            if (buffer := state.get("momentum_buffer")) is not None:
                tensors[f"momentum.{index}"] = buffer
        return tensors, {
            "count": self._count,
            "epochs": self._epochs,
            "round": self._round,
            "ready": self._ready,
        }

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
        self._count, self._epochs = plain["count"], plain["epochs"]
        self._round, self._ready = plain["round"], plain["ready"]


def _check(config: SupernetConfig) -> None:
    if config.training not in _TRAININGS:
        raise OptionError(nearest("training of the supernet", config.training, _TRAININGS))
    if config.score not in _SCORES:
        raise OptionError(nearest("score of the supernet", config.score, _SCORES))
    sizes = (config.batch_size, config.eval_batch_size)
    if any(size is not None and size < 1 for size in sizes) or config.lr <= 0:
        raise OptionError("batch sizes are at least 1 and the learning rate is above 0")
    if config.warmup_epochs < 0 or config.epochs < 0:
        raise OptionError("warmup_epochs and epochs are not negative")
