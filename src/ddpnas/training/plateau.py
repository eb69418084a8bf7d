"""PlateauTraining: train a network at a constant learning rate, for as long as it is worth it.

Networks that race against each other are trained without knowing for how long, so the learning
rate cannot fall on a schedule. A running average of the weights is nearly as good as weights after
a fall, and it is what counts meanwhile. The winner's training goes on from here with a recipe
whose learning rate falls (warm-up, plateau, decay: Haegele et al., NeurIPS 2024, arXiv 2405.18392).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from torch import Tensor, nn

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
from ddpnas.utils.seeds import seeded

__all__ = ["WARMUP_STEPS", "PlateauTraining"]

WARMUP_STEPS = 100  # in which the learning rate rises to its constant height
_SPAN = 10  # steps so far over those that the average spans, at least


class _StateForm(TypedDict):
    epochs: Whole
    steps: Whole
    optimizer: dict[str, dict[str, Any]]


class PlateauTraining:
    """The training of one network, epoch by epoch.

    Epochs of the same number see the same images in the same order, whatever the network.

    Args:
        model: The network; it is trained in place.
        recipe: Optimizer, learning rate, batch size, clipping and augmentation; its schedule and
            number of epochs are not used.
        loader: Batches of the training split; several networks may share it.
        seed: Seed for shuffling and augmentation.

    Attributes:
        model: The network with its present weights.
        epochs: Number of epochs so far.
        steps: Number of steps so far.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(80, 5), torch.arange(80) % 2))
        >>> loader = Loader(data, [data.train], torch.device("cpu"))
        >>> training = PlateauTraining(nn.Linear(5, 2), Recipe(), loader, seed=0)
        >>> training.train() > 0, training.epochs
        (True, 1)
    """

    def __init__(self, model: nn.Module, recipe: Recipe, loader: Loader, seed: int) -> None:
        self.model = place(model, loader.device).train()
        self.epochs = self.steps = 0
        self._recipe, self._loader, self._seed = recipe, loader, seed
        self._batch_size = loader.batch_size(recipe.batch_size)
        self._optimizer = optimizer_of(self.model, recipe)
        self._average = average_of(self.model, recipe, steps=1)
        self._step = TrainStep(
            self.model,
            self._optimizer,
            [p for p in self.model.parameters() if p.requires_grad],
            clip=recipe.clip,
            label_smoothing=recipe.label_smoothing,
            auxiliary_weight=recipe.auxiliary_weight,
        )

    @property
    def scored(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode."""
        found: nn.Module = self.model if self._average is None else self._average.module
        return found.eval()

    def train(self) -> float:
        """Train one epoch; return the mean loss.

        Raises:
            DivergedError: The loss became NaN or infinite.
        """
        seed = self._seed * 100_003 + self.epochs  # as a training by a recipe has it
        self.model.train()
        with seeded(seed):
            loss = train_epoch(
                self._train_batch, self._loader.train_batches(self._batch_size, seed)
            )
        self.epochs += 1
        return loss

    def _train_batch(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.steps += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * min(1.0, self.steps / WARMUP_STEPS)
        loss = self._step(inputs, labels)
        if self._average is not None:
            self._average.decay = min(self._recipe.ema, 1 - _SPAN / (self.steps + _SPAN))
            self._average.update(self.model, step=self.steps)
        return loss

    def accuracy(self, loader: Loader, classes: int) -> float:
        """Return the accuracy of the averaged weights, a fraction.

        Args:
            loader: Loads the items to classify.
            classes: Number of classes.
        """
        counts = confusion(self.scored, loader.eval_batches(500), classes)
        return float(counts.trace() / counts.sum())

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, averages and momentum as tensors, and the rest as plain data."""
        state, numbers = optimizer_state(self._optimizer)
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("optimizer", state)
        if self._average is not None:
            tensors |= with_prefix("average", self._average.module.state_dict())
        return tensors, {"epochs": self.epochs, "steps": self.steps, "optimizer": numbers}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state = checked_content(plain, _StateForm, "the state of a training")
        self.epochs, self.steps = state["epochs"], state["steps"]
        self.model.load_state_dict(without_prefix("model", tensors))
        load_optimizer(self._optimizer, without_prefix("optimizer", tensors), state["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(without_prefix("average", tensors))
