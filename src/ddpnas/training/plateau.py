"""PlateauTraining: train a network at a constant learning rate, for as long as that pays.

Networks that race against each other are trained without knowing for how long, so the learning
rate cannot fall on a schedule. A running average of the weights is nearly as good as weights after
a fall, and it is what counts meanwhile. The winner's training goes on from here with a recipe
whose learning rate falls (warm-up, plateau, decay: Haegele et al., NeurIPS 2024, arXiv 2405.18392).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpnas.data.loader import Loader
from ddpnas.training._timm_parts import average_of, optimizer_of
from ddpnas.training.checkpoint import (
    load_optimizer,
    optimizer_state,
    with_prefix,
    without_prefix,
)
from ddpnas.training.device import place
from ddpnas.training.metrics import confusion
from ddpnas.training.recipes import Recipe
from ddpnas.training.steps import TrainStep, train_epoch
from ddpnas.utils.read import Whole, checked_content
from ddpnas.utils.seeds import derive_seed, seeded

__all__ = ["WARMUP_STEPS", "PlateauTraining"]

WARMUP_STEPS = 100  # in which the learning rate rises to its constant height
_SPAN = 10  # steps so far over those that the average spans, at least


class _StateForm(TypedDict):
    steps: Whole
    optimizer: dict[str, dict[str, Any]]


class PlateauTraining:
    """The training of one network, some steps at a time.

    Networks that are trained for the same numbers of steps see the same images in the same order.

    Args:
        model: The network; it is trained in place.
        recipe: Optimizer, learning rate, batch size, clipping and augmentation; its schedule and
            number of epochs are not used.
        loader: Batches of the training split; several networks may share it.
        seed: Seed for shuffling and augmentation.
        class_weights: Weight of each class in the loss; None for 1.

    Attributes:
        model: The network with its present weights.
        steps: Number of steps so far.
        steps_an_epoch: Number of steps in which every image is seen once.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(80, 5), torch.arange(80) % 2))
        >>> loader = Loader(data, [data.train], torch.device("cpu"))
        >>> training = PlateauTraining(nn.Linear(5, 2), Recipe(), loader, seed=0)
        >>> training.train(steps=3) > 0, training.steps
        (True, 3)
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        loader: Loader,
        seed: int,
        class_weights: Tensor | None = None,
    ) -> None:
        self.model = place(model, loader.device).train()
        self.steps = 0
        self._recipe, self._loader, self._seed = recipe, loader, seed
        self._batch_size = loader.batch_size(recipe.batch_size)
        self.steps_an_epoch = loader.steps(self._batch_size)
        self._optimizer = optimizer_of(self.model, recipe)
        self._average = average_of(self.model, recipe, steps=1)
        self._step = TrainStep(
            self.model,
            self._optimizer,
            [p for p in self.model.parameters() if p.requires_grad],
            clip=recipe.clip,
            label_smoothing=recipe.label_smoothing,
            auxiliary_weight=recipe.auxiliary_weight,
            class_weights=class_weights,
        )

    @property
    def scored(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode."""
        found: nn.Module = self.model if self._average is None else self._average.module
        return found.eval()

    def train(self, steps: int) -> float:
        """Train for some steps; return the mean loss.

        Every epoch, and every call, begins with all images in a new random order.

        Args:
            steps: Number of batches, at least 1.

        Raises:
            DivergedError: The loss became NaN or infinite.
        """
        self.model.train()
        total = 0.0
        left = steps
        while left > 0:
            seed = derive_seed(self._seed, self.steps)
            batches = self._loader.train_batches(self._batch_size, seed)
            part = min(left, self.steps_an_epoch)
            with seeded(seed):
                total += part * train_epoch(self._train_batch, itertools.islice(batches, part))
            left -= part
        return total / steps

    def _train_batch(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.steps += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * min(1.0, self.steps / WARMUP_STEPS)
        loss = self._step(inputs, labels)
        if self._average is not None:
            self._average.decay = min(self._recipe.ema, 1 - _SPAN / (self.steps + _SPAN))
            self._average.update(self.model, step=self.steps)
        return loss

    def confusion(self, loader: Loader, classes: int) -> Tensor:
        """Return the number of items by (label, class that the averaged weights predict).

        Normalization uses the statistics of each batch: running ones lag behind weights that were
        trained for a few steps.

        Args:
            loader: Loads the items to classify, classes mixed in every batch.
            classes: Number of classes.
        """
        with _batch_statistics(self.scored) as network:
            return confusion(network, loader.eval_batches(500), classes)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, averages and momentum as tensors, and the rest as plain data."""
        state, numbers = optimizer_state(self._optimizer)
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("optimizer", state)
        if self._average is not None:
            tensors |= with_prefix("average", self._average.module.state_dict())
        return tensors, {"steps": self.steps, "optimizer": numbers}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state = checked_content(plain, _StateForm, "the state of a training")
        self.steps = state["steps"]
        self.model.load_state_dict(without_prefix("model", tensors))
        load_optimizer(self._optimizer, without_prefix("optimizer", tensors), state["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(without_prefix("average", tensors))


@contextlib.contextmanager
def _batch_statistics(network: nn.Module) -> Iterator[nn.Module]:
    """Let a network in evaluation mode normalize by each batch, and change nothing in it."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum, norm.num_batches_tracked = 0.0, None  # so that nothing is tracked
    try:
        yield network
    finally:
        for norm, (momentum, number) in zip(norms, before, strict=True):
            norm.eval()
            norm.momentum, norm.num_batches_tracked = momentum, number
