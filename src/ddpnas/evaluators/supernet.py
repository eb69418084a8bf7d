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

A score is measured on the whole validation split: the accuracy, or the negative cross-entropy,
which tells paths apart that get as many images right. How the weights are trained is in
:mod:`ddpnas.evaluators.shared_weights`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.errors import OptionError
from ddpnas.evaluators.base import Evaluation
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.proxies import Prior, Scale, measured, weighed
from ddpnas.evaluators.scoring import most_accurate, verdicts
from ddpnas.evaluators.shared_weights import Round, SharedWeights
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Supernet
from ddpnas.training.device import autocast, pick_device
from ddpnas.training.distributed import ALONE, Processes

__all__ = ["SupernetEvaluator"]

_SCORED_TOGETHER = 40  # architectures: the more, the more they share, and the rarer a checkpoint
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
        self._space, self._seed = space, seed
        self._count = 0  # scores given
        self._round = 0  # epochs trained of those before the next batch
        self._ready = 0  # architectures of the present batch still to score
        self._weights = SharedWeights(
            space, data, evaluations, self.config, seed, self.device, processes
        )
        self._valid = Loader(data, [data.valid], self.device, shard=processes.shard)
        weight = self.config.prior_weight
        self._prior = Prior(space, data, seed, self.device) if weight > 0 else None
        self._scale = Scale()

    @property
    def supernet(self) -> Supernet:
        """The network with the present weights."""
        return self._weights.supernet

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
        of_all = self._weights.warmup_epochs if self._count == 0 else 0
        own = self.config.epochs + of_all
        length = len(architectures) if self.config.interleave else own
        round_ = Round(architectures, length, 0 if self.config.interleave else of_all, self._count)
        if length == 0:
            self._ready = len(architectures)
        while self._ready == 0:
            epoch = self._weights.train_together(round_, self._round)
            self._round += 1
            at = {"epoch": self._round, "epochs": length}
            if self._round >= length:
                self._round, self._ready = 0, len(architectures)
            yield {**at, **epoch}

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
            trained = {} if self._together else self._weights.train_path(part[0], self._count)
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
            found = verdicts(
                self.supernet, self._space.decisions, architectures, batches, self._processes
            )
        seconds = (time.perf_counter() - started) / len(architectures)
        return [
            Evaluation(
                verdict.accuracy if self.config.score_by == "accuracy" else -verdict.loss,
                {
                    "accuracy": verdict.accuracy,
                    "valid_loss": verdict.loss,
                    "valid_seconds": seconds,
                },
            )
            for verdict in found
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

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights and optimizer state as tensors, and the rest as plain data."""
        tensors, plain = self._weights.state_dict()
        return tensors, {
            **plain,
            "count": self._count,
            "round": self._round,
            "ready": self._ready,
            "scale": self._scale.to_dict(),
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._weights.load_state_dict(tensors, plain)
        self._count, self._round, self._ready = plain["count"], plain["round"], plain["ready"]
        self._scale.restore(plain["scale"])
