"""SupernetEvaluator: weights shared by all paths, trained as the search goes, score its paths.

How the weights are trained between the scores is the setting ``training``:

* ``"path"``, the paper's: each architecture's own path is trained one epoch and then scored, so
  that every score comes from other weights, and a path from those that the epoch before left.
* ``"fair"``: all choices are trained before the first score, and then those that occur in a batch
  of architectures before any of these is scored. In every step each choice is trained once, in
  disjoint random paths whose gradients are summed (strict fairness: Chu et al., "FairNAS", ICCV
  2021, arXiv 1907.01845). Each path of a step has images of its own, so that a pass over all
  choices costs what one over a path costs; FairNAS shows all of them the same. All scores of a
  batch come from the same weights and can be compared; what is pruned takes no more time.
* ``"uniform"``: likewise, with one random path a step (Guo et al., "Single Path One-Shot", ECCV
  2020, arXiv 1904.00420).

With ``interleave``, the epochs that "path" gives the architectures of a batch are mixed: they take
turns, a step each, and all are scored afterwards with the same weights, so that none is ahead for
having come last.

Only parameters of the trained paths are handed to the optimizer, so nothing else moves, decays or
costs time. A score is measured on the whole validation split: the accuracy, or the negative
cross-entropy, which tells paths apart that get as many images right.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.architecture import Architecture
from ddpnas.data import Data, Loader
from ddpnas.data.augment import Augmentation, Share
from ddpnas.distributed import ALONE, Processes, synchronise_norms
from ddpnas.distribution import JointDistribution
from ddpnas.errors import DivergedError, OptionError
from ddpnas.evaluators.base import Evaluation
from ddpnas.evaluators.compiled import compile_options
from ddpnas.evaluators.prior import Prior, Scale, measured, weighed
from ddpnas.evaluators.scoring import accuracies_and_losses, most_accurate
from ddpnas.evaluators.supernet_config import SupernetConfig
from ddpnas.space import SearchSpace
from ddpnas.training.captured import Captures, Step
from ddpnas.training.epoch import accuracy_and_loss, autocast, pick_device, place, train_epoch

__all__ = ["SupernetEvaluator", "make_sgd"]

_SCORED_TOGETHER = 40  # architectures: the more, the more they share, and the rarer a checkpoint
_PASSES = 16  # for each option of a decision, before the first score
_STEPS, _MOST_PASSES = 2_500, 300  # passes of a small set have few steps
_RECORDED = 320  # paths that recorded steps are made of: recording one costs as much as a step
_SCALE_OF = 40  # architectures that the scale of scores with a prior is taken from, or more


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
        if self.config.compile is not None:
            compile_options(self.supernet, self.config.compile)
        graphs = self.config.cuda_graphs and processes.size == 1
        self._captures = Captures.on(self.device) if graphs else Captures(None)
        self._pool: list[Step] = []  # this round's, where they are drawn beforehand
        self._parameters = list(self.supernet.parameters())
        self._optimizer = make_sgd(self._parameters, self.config, self.device)
        self._share = Share(processes.rank, processes.size)
        self._train = Loader(data, [data.train], self.device, share=self._share)
        self._valid = Loader(data, [data.valid], self.device, share=self._share)
        weight = self.config.prior_weight
        self._prior = Prior(space, data, seed, self.device) if weight > 0 else None
        self._scale = Scale()
        longest = JointDistribution.uniform(space.decisions).longest
        paths = longest if self.config.training == "fair" else 1
        self._batch_size = self._train.batch_size(self.config.batch_size, paths)
        given = self.config.warmup_epochs
        self._warmup_epochs = self._enough(longest) if given is None else given
        if not self.config.augmented(self._warmup_epochs / longest):
            self._train.augmentation = Augmentation(crop="none", flip=False)
        smallest = min(self._batch_size, len(self._train) // paths)  # images of a path's step
        if smallest < processes.size:
            raise OptionError(
                f"the {smallest} images of a path's step cannot be split over {processes.size} "
                f"processes; use fewer"
            )

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[dict[str, float]]:
        """Train what has to be trained before the batch is scored; yield after each epoch.

        The state may be saved whenever this yields. Nothing is done where the batch, or the
        part of it that an interrupted search still has to score, is ready. Yields ``epoch`` (of
        ``epochs`` before the batch, from 1), ``loss`` (mean training cross-entropy), ``lr`` (the
        epoch's last), ``train_images`` and ``train_seconds``.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        if not self._together or self._ready > 0:
            return
        own = self.config.epochs + self._warmup
        length = len(architectures) if self.config.interleave else own
        if length == 0:
            self._ready = len(architectures)
        while self._ready == 0:
            started = time.perf_counter()
            images, loss, lr = self._train_together(architectures, self._round, length)
            self._round += 1
            at = {"epoch": self._round, "epochs": length}
            if self._round >= length:
                self._round, self._ready, self._pool = 0, len(architectures), []
            yield {**at, "loss": loss, "lr": lr, **_paced(images, started)}

    def _enough(self, options: int) -> int:
        """Return how many passes train all choices so long that their scores mean something."""
        steps = self._train.steps(min(options * self._batch_size, len(self._train)))
        return max(_PASSES * options, min(_MOST_PASSES, math.ceil(_STEPS / steps)))

    @property
    def _warmup(self) -> int:
        """How many epochs before the next batch train all choices."""
        return self._warmup_epochs if self._count == 0 else 0

    @property
    def _together(self) -> bool:
        """Whether the architectures of a batch are trained before any of them is scored."""
        return self.config.training != "path" or self.config.interleave

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the score of each path; see ``training`` for what comes before.

        Details: ``accuracy`` (a fraction) and ``valid_loss`` on the validation split,
        ``valid_seconds``; where each is trained before its score also ``loss`` (mean training
        cross-entropy), ``lr``, ``train_images`` and ``train_seconds``; with a prior ``naswot``,
        ``synflow`` and ``prior_seconds``.

        Raises:
            DivergedError: the loss became NaN or infinite, with the epoch and what to try.
        """
        for _ in self.prepare(architectures):
            pass
        step = _SCORED_TOGETHER if self._together else 1
        if self._prior is not None and not self._scale.known:
            step = max(1, len(architectures))  # they set the scale
        for at in range(0, len(architectures), step):
            part = architectures[at : at + step]
            trained = {} if self._together else self._train_path(part[0])
            for evaluation in self.scores(part):
                self._count += 1
                self._ready = max(0, self._ready - 1)
                yield Evaluation(evaluation.score, {**trained, **evaluation.details})

    def score(self, architecture: Architecture) -> Evaluation:
        """Return the score of a path with the present weights; nothing is trained."""
        return self.scores([architecture])[0]

    def scores(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the score of each path with the present weights; nothing is trained.

        What paths have in common at their beginning is computed once; the scores are those of
        paths scored one by one. With a prior, the first call sets the scale: the scores have median
        0 and deviation 1 over these architectures or, if they are few, over some drawn at random.
        """
        plain = self._plain(architectures)
        if self._prior is None:
            return plain
        values = measured(self._prior, plain, architectures)
        if not self._scale.known:
            self._scale.learn(values if len(values) >= _SCALE_OF else self._drawn_values())
        return weighed(plain, values, self._scale, self.config.prior_weight)

    def _plain(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the scores of the shared weights alone."""
        started = time.perf_counter()
        self.supernet.eval()
        batches = self._valid.eval_batches(self.config.eval_batch_size)
        with autocast(self.device, self.config.mixed_precision):
            if len(architectures) == 1:
                self.supernet.set_path(architectures[0])
                found = [accuracy_and_loss(self.supernet, batches, self._processes)]
            else:
                decisions = self._space.decisions
                found = accuracies_and_losses(
                    self.supernet, decisions, architectures, batches, self._processes
                )
        seconds = (time.perf_counter() - started) / len(architectures)
        by_accuracy = self.config.score_by == "accuracy"
        return [
            Evaluation(
                accuracy if by_accuracy else -loss,
                {"accuracy": accuracy, "valid_loss": loss, "valid_seconds": seconds},
            )
            for accuracy, loss in found
        ]

    def _drawn_values(self) -> list[dict[str, float]]:
        """Return what sets the scale: of random architectures, the same for all searches."""
        assert self._prior is not None
        rng = np.random.default_rng(self._seed)
        drawn = list(dict.fromkeys(self._space.sample(rng) for _ in range(_SCALE_OF)))
        return measured(self._prior, self._plain(drawn), drawn)

    def best(self, architectures: Sequence[Architecture]) -> tuple[Architecture, float]:
        """Return the most accurate path with the present weights, and its accuracy.

        The same as the best of :meth:`scores` by accuracy (the first of equal ones), but a
        validation ends where its outcome cannot matter any more.

        Raises:
            OptionError: there are several processes.
        """
        if self._processes.size > 1:
            raise OptionError("the best of several is found by one process; use scores")
        self.supernet.eval()
        batches = self._valid.eval_batches(self.config.eval_batch_size)
        with autocast(self.device, self.config.mixed_precision):
            best, accuracy = most_accurate(
                self.supernet, self._space.decisions, architectures, batches, len(self._valid)
            )
        return architectures[best], accuracy

    def _train_path(self, architecture: Architecture) -> dict[str, float]:
        """Train the active path one epoch."""
        started = time.perf_counter()
        self.supernet.set_path(architecture)
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
                    precision=self.config.mixed_precision,
                    captures=self._captures,
                )
        except DivergedError as error:
            raise self._diverged(error, lr) from None
        finally:
            group["params"] = self._parameters
        self._epochs += 1
        self._processes.check_equal("weights", repr(architecture), path)
        images = self._train.steps(self._batch_size) * min(self._batch_size, len(self._train))
        return {"loss": loss, "lr": lr, **_paced(images, started)}

    def _train_together(
        self, architectures: Sequence[Architecture], done: int, of: int
    ) -> tuple[int, float, float]:
        """Train an epoch of all choices, of a batch's, or of its paths.

        Returns images, mean loss and last rate.

        Args:
            architectures: the batch.
            done: epochs of this round before, for the learning rate.
            of: epochs of this round.
        """
        self.supernet.train()
        seed = self._epoch_seed()
        rng = np.random.default_rng(seed)
        alive = self._occurring(architectures)
        if done < self._warmup:
            alive = JointDistribution.uniform(self._space.decisions)
        at_once = alive.longest if self.config.training == "fair" else 1
        batch_size = min(self._batch_size * at_once, len(self._train))
        steps = self._train.steps(batch_size)
        if done in (0, self._warmup) or not self._pool:
            groups = self._drawn_beforehand(architectures, alive, at_once)
            self._pool = [self._captures.step(self._step_on(paths, batch_size)) for paths in groups]
        order = rng.permutation(len(self._pool))
        losses: list[Tensor] = []
        lr = self.config.lr
        with torch.random.fork_rng():
            torch.manual_seed(seed + self._processes.rank)
            for step, batch in enumerate(self._train.train_batches(batch_size, seed)):
                epochs = done + step / steps
                if self.config.interleave:
                    lr = self._set_lr((self._count + epochs) / max(1, self._evaluations))
                    train = self._pool[(done * steps + step) % len(self._pool)]
                else:
                    lr = self._set_lr(epochs / of)
                    if self._pool:
                        train = self._pool[order[step % len(order)]]
                    else:
                        train = self._step_on(alive.fair_cycle(rng)[:at_once], batch_size)
                losses.append(train(*batch))
        self._epochs += 1
        self._processes.check_equal("weights", "", self._parameters)
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise self._diverged(f"the training loss became {loss}", lr)
        return steps * batch_size, loss, lr

    def _drawn_beforehand(
        self, architectures: Sequence[Architecture], alive: JointDistribution, at_once: int
    ) -> list[list[Architecture]]:
        """Return the paths of each of a round's steps; none if every step draws its own."""
        if self.config.interleave:
            return [[architecture] for architecture in architectures]
        paths = self.config.distinct_paths
        if paths is None:
            paths = _RECORDED if self._captures.recording else 0
        rng = np.random.default_rng([self._seed, self._count])
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
            inputs: this process's share of the batch.
            labels: likewise.
        """
        owners = torch.arange(batch_size) * len(paths) // batch_size
        whole = owners.bincount(minlength=len(paths)).tolist()
        own = self._share.take(owners).bincount(minlength=len(paths)).tolist()
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts = zip(
            paths, torch.split(inputs, own), torch.split(labels, own), own, whole, strict=True
        )
        uses: Counter[torch.nn.Parameter] = Counter()
        for path, part, targets, count, of in parts:
            self.supernet.set_path(path)
            if self.config.shared_gradients == "mean":
                uses.update(self.supernet.path_parameters())
            with autocast(self.device, self.config.mixed_precision):
                loss = functional.cross_entropy(self.supernet(part), targets)
            loss = loss * (count * self._processes.size / of)
            loss.backward()
            total += loss.detach()
        for parameter, paths_of_it in uses.items():
            if paths_of_it > 1 and parameter.grad is not None:
                parameter.grad /= paths_of_it
        total = self._processes.average_gradients(self._parameters, total, 1)
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

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence([self._seed, self._epochs]).generate_state(1)[0])

    def _set_lr(self, progress: float) -> float:
        """Set and return the learning rate at this part of its cosine, in [0, 1]."""
        low, high = self.config.lr_min, self.config.lr
        lr = low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        group = self._optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
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
            "scale": self._scale.to_dict(),
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
        self._scale.restore(plain["scale"])


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


def _paced(images: int, started: float) -> dict[str, float]:
    """Return how many images an epoch had and, if it began then, how long it took."""
    return {"train_images": images, "train_seconds": time.perf_counter() - started}
