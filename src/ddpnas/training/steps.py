"""One step of gradient descent on a batch, and one pass over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import DivergedError
from ddpnas.space.outputs import main_output
from ddpnas.training.cuda_graphs import Step
from ddpnas.training.device import autocast
from ddpnas.training.distillation import WEIGHT, Teacher, distillation_loss
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.training.metrics import Batches

__all__ = ["Mix", "TrainStep", "train_epoch"]

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainStep:
    """One step on a batch: ``step(inputs, labels)`` updates the weights and returns the loss.

    The loss is the cross-entropy of the outputs. A model that returns a tuple while it trains has
    auxiliary heads, whose losses are added.

    Args:
        model: In training mode, on the device of the batches.
        optimizer: Optimizer of ``parameters``.
        parameters: Parameters that the model uses; their gradients are reset and clipped.
        clip: Largest norm of the gradient of all parameters together; 0 for no clipping.
        label_smoothing: Smoothing of the labels, unless ``mix`` smooths them.
        auxiliary_weight: Weight of the loss of each auxiliary head (0.4 in DARTS).
        mix: Turns inputs and labels into mixed inputs and probabilities.
        class_weights: (C,) weight of each class in the loss, 1 on average over all images; None
            for 1.
        processes: Processes that train together, each on its shard of every batch.
        precision: "no", "bf16" or "fp16", see :func:`ddpnas.training.device.autocast`.
        scaler: Scales losses and gradients, for "fp16".
        teacher: Network to distil from; its part of the loss is half, and the labels' the rest.
        observe: Called with the outputs for the labels, of which no gradient is taken.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> step = TrainStep(model, optimizer, list(model.parameters()))
        >>> step(torch.randn(8, 2), torch.arange(8) % 2).shape
        torch.Size([])
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    parameters: Sequence[nn.Parameter]
    clip: float = 0.0
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.4
    mix: Mix | None = None
    class_weights: Tensor | None = None
    processes: Processes = ALONE
    precision: str = "no"
    scaler: torch.amp.GradScaler | None = None
    teacher: Teacher | None = None
    observe: Callable[[Tensor], object] | None = None

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Train on one batch, or this process's shard of it; return the batch's mean loss."""
        targets = labels
        if self.mix is not None:
            inputs, targets = self.mix(inputs, labels)
        with autocast(inputs.device, self.precision):
            taught = None if self.teacher is None else self.teacher(inputs)
            outputs = self.model(inputs)
            loss = self._loss(outputs, targets, taught)
        if self.observe is not None:
            self.observe(main_output(outputs).detach())
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.processes.weighted(loss, len(targets))
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        loss = self.processes.average_gradients(self.parameters, loss.detach(), len(targets))
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss.detach()

    def _loss(
        self, outputs: Tensor | tuple[Tensor, ...], targets: Tensor, taught: Tensor | None
    ) -> Tensor:
        smoothing = self.label_smoothing if self.mix is None else 0.0
        first, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self._cross_entropy(first, targets, smoothing)
        if taught is not None:
            loss = (1 - WEIGHT) * loss + WEIGHT * distillation_loss(first, taught)
        for other in others:
            loss = loss + self.auxiliary_weight * self._cross_entropy(other, targets, smoothing)
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        if self.class_weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        # Weights of items: torch's own weights of classes also weigh what smoothing spreads over
        # all classes, which favors the rare ones, and divide by a sum that depends on the batch.
        each = functional.cross_entropy(
            logits, targets, label_smoothing=smoothing, reduction="none"
        )
        hard = targets.dim() == 1
        weights = self.class_weights[targets] if hard else targets @ self.class_weights
        return (weights * each).mean()


def train_epoch(step: Step, batches: Batches) -> float:
    """Train on every batch once; return the mean loss.

    Args:
        step: A :class:`TrainStep`, or another function of inputs and labels that trains on them
            and returns the loss.
        batches: (inputs, labels).

    Raises:
        DivergedError: The loss became NaN or infinite.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> step = TrainStep(model, optimizer, list(model.parameters()))
        >>> train_epoch(step, [(torch.randn(8, 2), torch.arange(8) % 2)]) > 0
        True
    """
    total: Tensor | None = None
    steps = 0
    for inputs, labels in batches:
        loss = step(inputs, labels)
        total = loss if total is None else total + loss  # read once, so that no step waits for it
        steps += 1
    mean = float(total) / steps if total is not None else math.nan
    if not math.isfinite(mean):
        raise DivergedError(f"the training loss became {mean}")
    return mean
