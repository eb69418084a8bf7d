"""SupernetEvaluator: one set of weights, shared by all architectures, scores each of them.

How the weights are trained is the option ``training``:

* ``"path"`` is the paper's way. Each architecture's own path is trained for one epoch and then
  scored. Every score therefore comes from other weights, and each path starts from the weights
  that the epoch before left.
* ``"fair"`` trains all options before the first score, and nothing afterwards. In every step each
  option is trained once, in disjoint random paths whose gradients are summed (strict fairness: Chu
  et al., "FairNAS", ICCV 2021, arXiv 1907.01845). Each path of a step has its own images, so a pass
  over all options costs as much as a pass over one path; FairNAS shows the same images to all. All
  scores come from the same weights and can be compared.
* ``"uniform"`` is the same with one random path a step (Guo et al., "Single Path One-Shot", ECCV
  2020, arXiv 1904.00420).

A score is measured on the validation split: the accuracy, or the negative cross-entropy,
which separates paths that get the same number of images right. BatchNorm uses the statistics of
batches of at least 256 images. The training itself is in :mod:`ddpnas.evaluators.shared_weights`.

A sieve may keep fewer of the training images, and fewer of the validation images. The latter are
chosen before the first score and stay the same, so that all scores of a search compare. To choose
them, five random paths answer for all of them in the second half of the warm-up. :meth:`rescore`
always reads the whole split.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.proxies import ProxyScores, Scale, with_proxies, with_proxy_weight
from ddpnas.evaluators.scoring import PathScore, batch_size, in_own_order, score_paths
from ddpnas.evaluators.shared_weights import SharedWeights
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Supernet
from ddpnas.strategies.base import BaseStrategy, Strategy
from ddpnas.training.checkpoint import with_prefix, without_prefix
from ddpnas.training.device import autocast, pick_device
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.utils.seeds import derive_seed

__all__ = ["SupernetEvaluator"]

logger = logging.getLogger(__name__)

_PROBES = 5  # times that random paths answer for the validation images before some are chosen
_PROBED = 0.5  # part of the warm-up that is over before the first time

# Architectures scored in one go. More share more of their work, but a checkpoint comes later.
_SCORED_TOGETHER = 40


class SupernetEvaluator(BaseEvaluator):
    """Scores architectures with weights that all of them share (a supernet).

    Args:
        space: Creates the supernet. Its input shape and classes must be those of ``data``.
        data: Its training split trains, its validation split scores.
        evaluations: Number of architectures that will be scored in all, the length of the
            learning-rate schedule of ``training="path"``.
        config: How to train and to score; None is the default :class:`SupernetConfig`.
        seed: Seed for the initial weights and for each epoch's shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...
        processes: The processes that search together. Each trains on its part of every batch and
            validates on its own batches, on its own device.
        scale_from: With proxies, scores are scaled by the first batch of architectures if it has at
            least this many, otherwise by this many random ones.
        sieve: Which training and validation images are read; None is all.

    Raises:
        OptionError: A setting out of range, or a sieve that cannot run.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> config = SupernetConfig(training="path", batch_size=25)
        >>> evaluator = SupernetEvaluator(space, data, 1, config, device="cpu")
        >>> [found] = evaluator.evaluate([space.decode([0] * len(space.decisions))])
        >>> found.score == found.details["accuracy"]
        True
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
        scale_from: int = 40,
        sieve: SieveConfig | None = None,
    ) -> None:
        self.config = config or SupernetConfig()
        if self.config.seconds is not None:
            raise OptionError(
                "only ddpnas.search() measures a pass and turns seconds into warmup_epochs; "
                "give warmup_epochs here"
            )
        self.device = pick_device(device) if processes.size == 1 else processes.device
        self._processes = processes
        self._space, self._seed, self._scale_from = space, seed, scale_from
        self._sieve = sieve or SieveConfig()
        self._weights = SharedWeights(
            space, data, evaluations, self.config, seed, self.device, processes, self._sieve
        )
        valid = in_own_order(data.valid)
        self._valid = Loader(data, [valid], self.device, shard=processes.shard)
        self._valid.sieve = self._sieve.of_scores(self._valid.labels, _PROBES, seed, once=True)
        if self._valid.sieve.observes and self._weights.warmup_epochs == 0:
            raise OptionError(
                f"sieve {self._sieve.name!r} chooses validation images by what it sees in the "
                f"warm-up, and this training has none; use training fair, or leave valid_keep out"
            )
        weight = self.config.weight_of_proxies
        self._proxies = ProxyScores(space, data, seed, self.device) if weight > 0 else None
        self._scale = Scale()

    @property
    def supernet(self) -> Supernet:
        """The network with its present weights."""
        return self._weights.supernet

    def requires(self, strategy: Strategy) -> None:
        """Serve any strategy; warn of one that takes its scores for accuracies where they are not.

        Raises:
            OptionError: It learns from a mixture of all options.
        """
        super().requires(strategy)
        accuracies = self.config.score_by == "accuracy" and self._proxies is None
        expected = isinstance(strategy, BaseStrategy) and strategy.expects_accuracies
        if expected and not accuracies and self._processes.first:
            unit = "losses" if self._proxies is None else "in standard deviations"
            logger.warning(
                "the strategy is made for accuracies, and these scores are %s, so "
                "that it prunes almost at random; give --evaluator-options.training path (as in "
                "the paper), or --evaluator-options.score accuracy with "
                "--evaluator-options.proxy-weight 0",
                unit,
            )

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[dict[str, float]]:
        """Train the warm-up, as far as it is not over; yield after each epoch.

        The warm-up trains all options alike, so it comes before the first batch whatever that is.
        The state may be saved whenever this yields. With ``training="path"`` there is no warm-up.

        Yields:
            ``epoch`` (from 1), ``epochs`` (of the warm-up), ``loss`` (mean training
            cross-entropy), ``lr`` (the epoch's last), ``train_images`` and ``train_seconds``.

        Raises:
            DivergedError: The loss became NaN or infinite; says in which epoch and what to try.
        """
        while self._weights.epochs < self._weights.warmup_epochs:
            measured = self._weights.train_all()
            self._probe()
            position = {"epoch": self._weights.epochs, "epochs": self._weights.warmup_epochs}
            yield {**position, **measured}

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the score of each path, after the training that the option ``training`` asks for.

        Details: ``accuracy`` (a fraction) and ``valid_loss`` on the validation split, and
        ``valid_seconds``. If each path is trained right before its score, also ``loss`` (mean
        training cross-entropy), ``lr``, ``train_images`` and ``train_seconds``. With proxies, also
        ``naswot``, ``synflow`` and ``proxy_seconds``.

        Raises:
            DivergedError: The loss became NaN or infinite; says in which epoch and what to try.
        """
        for _ in self.prepare(architectures):
            pass
        # An architecture that is trained right before its score has its own weights.
        by_path = self.config.training == "path"
        step = 1 if by_path else _SCORED_TOGETHER
        if self._proxies is not None and not self._scale.known:
            step = max(1, len(architectures))  # the whole first batch sets the scale
        for start in range(0, len(architectures), step):
            part = architectures[start : start + step]
            trained = self._weights.train_path(part[0]) if by_path else {}
            for evaluation in self._scores(part):
                yield Evaluation(evaluation.score, {**trained, **evaluation.details})

    def _probe(self) -> None:
        """Let the sieve of the validation images see a random path, if the epoch has its turn."""
        sieve, done, of = self._valid.sieve, self._weights.epochs, self._weights.warmup_epochs
        for probe in range(1, _PROBES + 1):
            due = math.ceil((_PROBED + (1 - _PROBED) * probe / _PROBES) * of - 1e-9)
            if sieve.observes and due == done:
                rng = np.random.default_rng(derive_seed(self._seed, done, probe))
                self._run([self._space.sample(rng)], observe=self._valid.observe)
                sieve.end_epoch(self._processes.sum)

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the score of each path with the present weights; nothing is trained.

        All validation images count, whatever a sieve keeps.

        What paths have in common at their beginning is computed once; each score is that of a
        separate run. With proxies, the first call sets the scale: the scores have median 0 and
        deviation 1 over these architectures or, if they are few, over random ones.
        """
        return self._scores(architectures, whole=True)

    def _scores(
        self, architectures: Sequence[Architecture], *, whole: bool = False
    ) -> list[Evaluation]:
        """Return the score of each path on the validation images that are kept, or on all."""
        shared = self._shared_scores(architectures, whole=whole)
        if self._proxies is None:
            return shared
        values = with_proxies(self._proxies, shared, architectures)
        if not self._scale.known:
            few = len(values) < self._scale_from
            self._scale.learn(self._random_values() if few else values)
        return with_proxy_weight(shared, values, self._scale, self.config.weight_of_proxies)

    def _run(
        self,
        architectures: Sequence[Architecture],
        *,
        whole: bool = False,
        observe: Callable[[Tensor], object] | None = None,
    ) -> list[PathScore]:
        """Return accuracy and loss of each path on the validation images."""
        self.supernet.eval()
        count = len(self._valid.labels) if whole else len(self._valid)
        size = batch_size(count, self.config.eval_batch_size)
        batches = self._valid.eval_batches(size, whole=whole)
        with autocast(self.device, self.config.mixed_precision):
            return score_paths(
                self.supernet,
                self._space.decisions,
                architectures,
                batches,
                self._processes,
                observe,
            )

    def _shared_scores(
        self, architectures: Sequence[Architecture], *, whole: bool = False
    ) -> list[Evaluation]:
        """Return the scores of the shared weights alone."""
        started = time.perf_counter()
        found = self._run(architectures, whole=whole)
        seconds = (time.perf_counter() - started) / len(architectures)
        by_accuracy = self.config.score_by == "accuracy"
        return [
            Evaluation(
                path.accuracy if by_accuracy else -path.loss,
                {"accuracy": path.accuracy, "valid_loss": path.loss, "valid_seconds": seconds},
            )
            for path in found
        ]

    def _random_values(self) -> list[dict[str, float]]:
        """Return values of random architectures, the same in all searches with this seed."""
        assert self._proxies is not None
        rng = np.random.default_rng(self._seed)
        drawn = list(dict.fromkeys(self._space.sample(rng) for _ in range(self._scale_from)))
        return with_proxies(self._proxies, self._shared_scores(drawn), drawn)

    def identity(self) -> dict[str, Any]:
        """Return all options, and the sieve if there is one."""
        return {
            **dataclasses.asdict(self.config),
            "phases": list(self.config.phases),
            **self._sieve.identity(),
        }

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, optimizer and sieves as tensors, and the rest as plain data."""
        tensors, plain = self._weights.state_dict()
        tensors |= with_prefix("valid_sieve", self._valid.sieve.state_dict())
        return tensors, {**plain, "scale": self._scale.to_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._weights.load_state_dict(tensors, plain)
        self._valid.sieve.load_state_dict(without_prefix("valid_sieve", tensors))
        self._scale.restore(plain["scale"])
