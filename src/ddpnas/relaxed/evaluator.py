"""MixtureEvaluator: trains the mixture of a gradient-based strategy, and scores single paths.

An evaluation is an epoch of the mixture, whose probabilities the strategy then learns, and the
accuracy of the path that the strategy asked for. Weights, logits and optimizers are the state of
the evaluator; what the probabilities mean is that of the strategy.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.data.curriculum import FollowingSieve
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DivergedError, OptionError
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.evaluators.scoring import batch_size, in_own_order, score_paths
from ddpnas.relaxed.expected_cost import CostPenalty, ExpectedCost
from ddpnas.relaxed.memory import StepMemory, free_bytes
from ddpnas.relaxed.mixture import Mixture, entropy
from ddpnas.relaxed.partial_channels import partial_supernet, widen
from ddpnas.relaxed.relaxations import RELAXATIONS
from ddpnas.relaxed.steps import Batch, MixtureStep
from ddpnas.relaxed.widths import check_mixed_widths
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Supernet
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.training.checkpoint import (
    load_optimizer,
    optimizer_state,
    with_prefix,
    without_prefix,
)
from ddpnas.training.device import autocast, pick_device, place
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.training.sync_norm import synchronize_norms
from ddpnas.utils.checksums import CHECKSUM, with_checksum
from ddpnas.utils.seeds import derive_seed, seeded
from ddpnas.utils.settings import Count, checked_fields

__all__ = ["MixtureConfig", "MixtureEvaluator"]

_TIMED_STEPS = 3
_MEASURED = 2, 4  # images in the batches whose memory is measured
_CHECKED_IMAGES = 16  # on which widths are checked, at most


@dataclass(frozen=True)
class MixtureConfig:
    """How paths are scored; how the mixture is trained is said by the strategy.

    Args:
        eval_batch_size: Images in a validation step, at most. BatchNorm uses their statistics, so
            no step has fewer than 256 because of it.
        mixed_precision: Precision of training steps and scores: "no" is float32, or "bf16".
    """

    eval_batch_size: Count = 500
    mixed_precision: Literal["no", "bf16"] = "no"

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'supernet' with a gradient-based strategy")


class MixtureEvaluator(BaseEvaluator):
    """Trains a mixture of all options for an epoch before each score.

    Args:
        space: Creates the supernet. Its input shape and classes must be those of ``data``.
        data: Its training split trains the weights. Its validation split trains the logits and
            gives the scores.
        strategy: Says how to train, and learns the probabilities.
        config: How to score; None is the default.
        seed: Seed for initial weights and logits, and for each epoch's shuffling and draws.
        device: "auto", "cpu", "cuda", ...
        processes: The processes that search together.
        sieve: Which images an epoch reads, for the weights and for the logits; None is all.
            Scores are measured on all validation images, or all of the classes that are present.

    Raises:
        SpaceError: The widths of the space cannot be mixed, and why.
        OptionError: A batch has fewer images than there are processes.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> strategy = ddpnas.create_strategy("gdas", space, epochs=1, batch_size=25)
        >>> evaluator = MixtureEvaluator(space, data, strategy, device="cpu")
        >>> [found] = evaluator.evaluate(strategy.ask())
        >>> found.score == found.details["accuracy"], found.details["temperature"]
        (True, 10.0)
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        strategy: GradientStrategy,
        config: MixtureConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        processes: Processes = ALONE,
        sieve: SieveConfig | None = None,
    ) -> None:
        self.config = config or MixtureConfig()
        self.device = pick_device(device) if processes.size == 1 else processes.device
        self.epochs = 0
        self._space, self._strategy, self._seed = space, strategy, seed
        self._processes, self._sieve = processes, sieve or SieveConfig()
        self._identity: dict[str, Any] = {}
        self._penalty = self._cost_penalty()
        shard = processes.shard
        self._train = Loader(data, [data.train], self.device, shard=shard)
        self._valid = Loader(data, [data.valid], self.device, shard=shard)
        self._scored = Loader(data, [in_own_order(data.valid)], self.device, shard=shard)
        few = max(16, len(self._train) // 40 // 8 * 8)  # an epoch should have 40 steps
        self._train.sieve = self._sieve.create(self._train.labels, strategy.epochs, seed)
        self._valid.sieve = self._sieve.of_scores(self._valid.labels, strategy.epochs, seed)
        if self._sieve.narrows:
            for loader in (self._valid, self._scored):
                loader.sieve = FollowingSieve(loader.labels, self._train.sieve)
        self._begin(0)
        self.batch_size = strategy.batch_size or min(strategy.published_batch, few)
        inputs, _ = next(self._scored.eval_batches(_CHECKED_IMAGES))
        check_mixed_widths(self.supernet, space, inputs)
        fewest = [loader.sieve.fewest for loader in (self._train, self._valid)]
        smallest = min(self.batch_size, *fewest)
        if smallest < processes.size:
            raise OptionError(
                f"the {smallest} images of a step cannot be split over {processes.size} processes; "
                f"use fewer"
            )
        images = -(-self.batch_size // processes.size)
        self.memory = max(self._measure_stages(inputs), key=lambda stage: stage.of(images))
        self.memory.require(images, free_bytes(self.device))

    @property
    def steps(self) -> int:
        """The number of steps in an epoch without a sieve."""
        return self._train.steps(self.batch_size)

    @property
    def mean_share(self) -> float:
        """Mean share of the images that an epoch reads through the sieve."""
        return self._sieve.mean_share

    def _measure_stages(self, inputs: Tensor) -> list[StepMemory]:
        """Return the memory of a step in each stage, whose networks may grow; begin the first.

        Args:
            inputs: Some images.
        """
        sizes, found = [len(inputs[:n]) for n in _MEASURED], []
        for epoch in filter(self._strategy.begins, range(self._strategy.epochs)):
            if epoch != self._begun:
                self._begin(epoch)
            self._keep_as_planned(epoch)
            held = [self._step.held_bytes(inputs[:n]) for n in sizes]
            found.append(StepMemory.measured(self._weights, sizes, held))
        if self._begun > 0:
            self._begin(0)
        return found

    def _keep_as_planned(self, epoch: int) -> None:
        """Let as many options take part as in an epoch; a random draw stands for what survives.

        Args:
            epoch: The epoch, counted from 0.
        """
        strategy, rng = self._strategy, np.random.default_rng(self._seed)
        stage, alive = strategy.stage_of(epoch), []
        for mask in strategy.taking_part:
            among = np.flatnonzero(mask)
            left = min(len(among), strategy.options_left(stage, len(mask)))
            kept = rng.choice(among, left, replace=False)
            alive.append(np.isin(np.arange(len(mask)), kept))
        self._mixture.keep(alive)

    def time_step(self, epoch: int) -> float:
        """Return the seconds of a step as in an epoch; weights and logits move.

        As many options take part as then, drawn at random.

        Args:
            epoch: The epoch, counted from 0; a stage that begins in it is begun.
        """
        if self._begun != epoch and self._strategy.begins(epoch):
            self._begin(epoch)
        self._keep_as_planned(epoch)
        self.supernet.train()
        valid, taken = self._valid_batches(self._seed), []
        batches = self._train.train_batches(self.batch_size, self._seed)
        with seeded(self._seed):
            for number, batch in enumerate(itertools.islice(batches, _TIMED_STEPS)):
                started = time.perf_counter()
                loss, _ = self._train_batch(epoch, batch, valid, number)
                float(loss)  # waits for the device
                taken.append(time.perf_counter() - started)
        return min(taken)

    def _begin(self, epoch: int) -> None:
        """Make weights, logits and their optimizers as they are at the start of a stage.

        Args:
            epoch: The first epoch of the stage.
        """
        strategy, space = self._strategy, self._space
        carried = self._tensors() if strategy.carries(epoch) else {}
        self._begun = epoch
        options = strategy.space_options(epoch).items()
        if known := {name: value for name, value in options if name in space.options}:
            space = space.with_options(**known)
        seed = self._seed if epoch == 0 else derive_seed(self._seed, epoch)
        with seeded(seed):
            if (parts := strategy.channel_parts(epoch)) == 1:
                supernet = space.supernet(seed=seed)
            else:
                supernet = partial_supernet(space, parts, seed)
        self.supernet: Supernet = supernet
        place(self.supernet, self.device)
        synchronize_norms(self.supernet, self._processes)
        self._weights = list(self.supernet.parameters())
        self._processes.copy_first([*self._weights, *self.supernet.buffers()])
        relaxation = RELAXATIONS[strategy.relaxation]
        self._mixture = Mixture(
            space.decisions,
            relaxation,
            seed,
            self.device,
            drop_rate=strategy.drop_rate,
            nodes=strategy.nodes,
        )
        self._sgd = torch.optim.SGD(
            self._weights,
            lr=strategy.lr,
            momentum=strategy.momentum,
            weight_decay=strategy.weight_decay,
        )
        self._adam = torch.optim.Adam(
            self._mixture.parameters(),
            lr=strategy.alpha_lr,
            betas=(0.5, 0.999),
            weight_decay=strategy.alpha_decay,
        )
        if carried:
            self._restore(self._widened(carried))
        self._step = MixtureStep(
            self.supernet,
            self._mixture,
            self._sgd,
            self._adam,
            order=strategy.order,
            penalty=self._penalty,
            clip=strategy.clip,
            precision=self.config.mixed_precision,
            processes=self._processes,
            observe=self._train.observe if self._train.sieve.observes else None,
            observe_valid=self._valid.observe if self._valid.sieve.observes else None,
        )

    def requires(self, strategy: Strategy) -> None:
        """Raise :class:`OptionError` for another strategy than the one it was made for."""
        if strategy is not self._strategy:
            raise OptionError("this evaluator trains the mixture of another strategy")

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Train an epoch before each score, and let the strategy learn the probabilities.

        Details: ``accuracy`` (a fraction) and ``valid_loss`` of the path on the validation split,
        ``valid_seconds``, and ``classes``, their number, where a sieve leaves some of them out; of
        the mixture ``loss`` and, if the logits learned from validation
        images, ``mixture_valid_loss`` (mean cross-entropy in the epoch), ``entropy`` (mean over the
        decisions, in nats), ``temperature``, ``lr``, ``train_images`` (all that it learned from)
        and ``train_seconds``.

        Raises:
            DivergedError: The loss became NaN or infinite; says in which epoch and what to try.
        """
        for architecture in architectures:
            trained = self._train_epoch()
            rows = self._mixture.probabilities()
            self._strategy.learn_mixture(rows)
            [scored] = self.rescore([architecture])
            details = {**trained, "entropy": entropy(rows), **scored.details}
            yield Evaluation(scored.score, details)

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the accuracy of each path with the present weights; nothing is trained."""
        started = time.perf_counter()
        self.supernet.eval()
        size = batch_size(len(self._scored), self.config.eval_batch_size)
        narrowed = self._scored.sieve.narrowing(self.supernet)
        with autocast(self.device, self.config.mixed_precision), narrowed:
            found = score_paths(
                self.supernet,
                self._space.decisions,
                architectures,
                self._scored.eval_batches(size),
                self._processes,
            )
        seconds = (time.perf_counter() - started) / len(architectures)
        present = self._scored.sieve.classes
        few = {} if present is None else {"classes": len(present)}
        return [
            Evaluation(
                path.accuracy,
                {
                    "accuracy": path.accuracy,
                    "valid_loss": path.loss,
                    "valid_seconds": seconds,
                    **few,
                },
            )
            for path in found
        ]

    def _cost_penalty(self) -> CostPenalty | None:
        """Return what the strategy lets a cost add to the loss of the logits.

        The content of a table in a file becomes part of the identity.
        """
        strategy, space = self._strategy, self._space
        if strategy.cost is None:
            return None
        counted = count_costs(space)
        if strategy.cost in counted:
            table = counted[strategy.cost]
        else:
            table = CostTable.load(strategy.cost)
            self._identity["cost_table"] = with_checksum(table.to_dict())[CHECKSUM]
        expected = ExpectedCost(table, space)
        reference = strategy.cost_reference
        if reference is None:
            uniform = {
                d.name: torch.full((k,), 1 / k) for d in space.decisions if (k := len(d.options))
            }
            reference = float(expected(uniform))
        return CostPenalty(expected, strategy.cost_form, strategy.cost_weight, reference)

    def _train_epoch(self) -> dict[str, float]:
        """Train weights and logits for an epoch; return what was measured."""
        started, strategy = time.perf_counter(), self._strategy
        if self.epochs != self._begun and strategy.begins(self.epochs):
            self._begin(self.epochs)
        self._step.drop(strategy.option_dropout(self.epochs))
        self.supernet.train()
        for logits in self._mixture.keep(strategy.taking_part):
            for moment in self._adam.state[logits].values():
                moment.zero_()  # of other options
        progress = strategy.progress(self.epochs)
        lr = strategy.lr_min + (strategy.lr - strategy.lr_min) * (
            (1 + math.cos(math.pi * progress)) / 2
        )
        self._sgd.param_groups[0]["lr"] = lr
        seed = derive_seed(self._seed, self.epochs)
        valid = self._valid_batches(seed)
        losses: list[Tensor] = []
        valid_losses: list[Tensor] = []
        narrowed = self._train.sieve.narrowing(self.supernet)
        with seeded(seed + self._processes.rank), narrowed:  # dropout differs between processes
            for number, batch in enumerate(self._train.train_batches(self.batch_size, seed)):
                loss, valid_loss = self._train_batch(self.epochs, batch, valid, number)
                losses.append(loss)
                if valid_loss is not None:
                    valid_losses.append(valid_loss)
        self._processes.check_equal("weights", "", [*self._weights, *self._mixture.parameters()])
        measured = {"loss": float(torch.stack(losses).mean())}
        if valid_losses:
            measured["mixture_valid_loss"] = float(torch.stack(valid_losses).mean())
        if not math.isfinite(sum(measured.values())):
            raise DivergedError(
                f"the loss of the mixture became {sum(measured.values())} in epoch "
                f"{self.epochs + 1} of {strategy.epochs}, at learning rate {lr:.3g}; try "
                f"--strategy-options.lr {strategy.lr / 4:g}"
            )
        self.epochs += 1
        images = len(losses) * min(self.batch_size, len(self._train))
        images += len(valid_losses) * min(self.batch_size, len(self._valid))
        for loader in (self._train, self._valid, self._scored):
            loader.sieve.end_epoch(self._processes.sum)
        return {
            **measured,
            "temperature": strategy.temperature(self.epochs - 1),
            "lr": lr,
            "train_images": images,
            "train_seconds": time.perf_counter() - started,
        }

    def _train_batch(
        self, epoch: int, batch: Batch, valid: Iterator[Batch], number: int
    ) -> tuple[Tensor, Tensor | None]:
        """Do a step; return its loss, and that on a validation batch if the logits learn from one.

        Args:
            epoch: The epoch.
            batch: A training batch.
            valid: Validation batches.
            number: Number of the step in the epoch.
        """
        temperature = self._strategy.temperature(epoch)
        seed = derive_seed(self._seed, epoch, number)
        if not self._strategy.learns(epoch):
            return self._step.train(batch, temperature=temperature, seed=seed), None
        if self._strategy.joint:
            return self._step.train_jointly(batch, temperature=temperature, seed=seed), None
        return self._step(batch, next(valid), temperature=temperature, seed=seed)

    def _valid_batches(self, seed: int) -> Iterator[Batch]:
        """Yield validation batches in random order, pass after pass."""
        for number in itertools.count(1):
            yield from self._valid.train_batches(self.batch_size, derive_seed(seed, number))

    def identity(self) -> dict[str, Any]:
        """Return all options, the sieve if there is one, and a checksum of the costs in a file."""
        return {**dataclasses.asdict(self.config), **self._sieve.identity(), **self._identity}

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, logits and the state of their optimizers; how far training is."""
        tensors = self._tensors()
        tensors |= with_prefix("sieve", self._train.sieve.state_dict())
        tensors |= with_prefix("valid_sieve", self._valid.sieve.state_dict())
        parts = [list(found) for found in self._mixture.alive.values()]
        return tensors, {"epochs": self.epochs, "begun": self._begun, "taking_part": parts}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if plain["begun"] != self._begun:
            self._begin(plain["begun"])
        decisions = zip(self._space.decisions, plain["taking_part"], strict=True)
        self._mixture.keep([np.isin(np.arange(len(d.options)), part) for d, part in decisions])
        self._restore(tensors)
        self._train.sieve.load_state_dict(without_prefix("sieve", tensors))
        self._valid.sieve.load_state_dict(without_prefix("valid_sieve", tensors))
        self._scored.sieve.load_state_dict({})
        self.epochs = plain["epochs"]

    def _tensors(self) -> dict[str, Tensor]:
        """Return weights, logits and the state of their optimizers."""
        tensors = with_prefix("supernet", self.supernet.state_dict())
        tensors |= with_prefix("mixture", self._mixture.state_dict())
        tensors |= with_prefix("sgd", optimizer_state(self._sgd)[0])
        return tensors | with_prefix("adam", optimizer_state(self._adam)[0])

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.supernet.load_state_dict(without_prefix("supernet", tensors))
        self._mixture.load_state_dict(without_prefix("mixture", tensors))
        load_optimizer(self._sgd, without_prefix("sgd", tensors), {})
        load_optimizer(self._adam, without_prefix("adam", tensors), {})

    def _widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a narrower network in the shapes that they have now."""
        shapes = with_prefix("supernet", self.supernet.state_dict())
        momenta = {f"{i}.momentum_buffer": weight for i, weight in enumerate(self._weights)}
        shapes |= with_prefix("sgd", momenta)
        return {
            name: widen(tensor, shapes[name].shape) if name in shapes else tensor
            for name, tensor in tensors.items()
        }
