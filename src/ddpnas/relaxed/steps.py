"""MixtureStep: the logits of a mixture learn from one batch, then the weights from another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.unrolled import Gradients, second_order
from ddpnas.relaxed.widths import MixedWidths
from ddpnas.space.supernet import Supernet
from ddpnas.training.device import autocast
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.training.steps import TrainStep
from ddpnas.utils.seeds import derive_seed

__all__ = ["Batch", "MixtureStep"]

Batch = tuple[Tensor, Tensor]
"""Inputs and labels, of this process's shard."""


class MixtureStep:
    """One step of a mixture on a training and a validation batch.

    Args:
        supernet: The network, in training mode.
        mixture: The logits.
        weight_optimizer: SGD of all weights, in one group.
        logit_optimizer: Optimizer of the logits.
        order: 1, or 2 for :func:`ddpnas.relaxed.unrolled.second_order`.
        clip: Largest norm of the gradient of the weights; 0 does not clip.
        precision: "no" or "bf16", see :func:`ddpnas.training.device.autocast`.
        processes: The processes that train together.

    Example:
        >>> from ddpnas import create_space
        >>> from ddpnas.relaxed.relaxations import RELAXATIONS
        >>> space = create_space("toy", input_shape=(1, 8, 8))
        >>> supernet = space.supernet(seed=0)
        >>> mixture = Mixture(space.decisions, RELAXATIONS["softmax"])
        >>> sgd = torch.optim.SGD(supernet.parameters(), lr=0.1)
        >>> step = MixtureStep(supernet, mixture, sgd, torch.optim.Adam(mixture.parameters()))
        >>> batch = torch.randn(8, 1, 8, 8), torch.arange(8) % 2
        >>> losses = step(batch, batch, temperature=1.0, seed=0)
        >>> len(losses)
        2
    """

    def __init__(
        self,
        supernet: Supernet,
        mixture: Mixture,
        weight_optimizer: torch.optim.Optimizer,
        logit_optimizer: torch.optim.Optimizer,
        *,
        order: int = 1,
        clip: float = 0.0,
        precision: str = "no",
        processes: Processes = ALONE,
    ) -> None:
        self._supernet, self._mixture = supernet, mixture
        self._choices = MixedChoices(supernet)
        self._widths = MixedWidths(supernet, mixture.decisions)
        self._weights = list(supernet.parameters())
        self._weight_optimizer, self._logit_optimizer = weight_optimizer, logit_optimizer
        self._order, self._precision, self._processes = order, precision, processes
        self._train = TrainStep(
            supernet,
            weight_optimizer,
            self._weights,
            clip=clip,
            precision=precision,
            processes=processes,
        )

    def __call__(
        self, train: Batch, valid: Batch, *, temperature: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Move the logits, then the weights.

        Args:
            train: The batch that the weights learn from.
            valid: The batch that the logits learn from.
            temperature: Temperature of the relaxation.
            seed: Seed of the draws of this step.

        Returns:
            (training loss, validation loss) of the mixture.
        """
        valid_loss = self._move_logits(train, valid, temperature, derive_seed(seed, 0))
        draws = self._mixture.draw(temperature, derive_seed(seed, 1))
        fixed = {name: replace(d, weights=d.weights.detach()) for name, d in draws.items()}
        with self._mixed(fixed):
            return self._train(*train), valid_loss

    @contextlib.contextmanager
    def _mixed(self, draws: Mapping[str, Draw]) -> Iterator[None]:
        weights = {name: draw.weights for name, draw in draws.items()}
        with self._choices(draws), self._widths(weights):
            yield

    def _move_logits(self, train: Batch, valid: Batch, temperature: float, seed: int) -> Tensor:
        logits = self._mixture.parameters()

        def slopes(batch: Batch, parameters: Sequence[nn.Parameter]) -> tuple[Gradients, Tensor]:
            return self._slopes(batch, self._mixture.draw(temperature, seed), parameters)

        if self._order == 1:
            found, loss = slopes(valid, logits)
        else:
            found, loss = second_order(
                lambda parameters: slopes(train, parameters),
                lambda parameters: slopes(valid, parameters),
                logits,
                self._weights,
                self._weight_optimizer,
            )
        for parameter, gradient in zip(logits, found, strict=True):
            parameter.grad = gradient
        # Adam decays and carries on what it holds, so pruned logits are put back.
        before = [parameter.detach().clone() for parameter in logits]
        self._logit_optimizer.step()
        with torch.no_grad():
            for parameter, old, mask in zip(logits, before, self._mixture.masks, strict=True):
                parameter.copy_(torch.where(mask, parameter, old))
        return loss

    def _slopes(
        self, batch: Batch, draws: Mapping[str, Draw], parameters: Sequence[nn.Parameter]
    ) -> tuple[Gradients, Tensor]:
        """Return the gradients of a batch's loss over all processes, and the loss."""
        inputs, labels = batch
        with self._mixed(draws), autocast(inputs.device, self._precision):
            loss = functional.cross_entropy(self._supernet(inputs), labels)
        loss = self._processes.weighted(loss, len(labels))
        found: Gradients = [*torch.autograd.grad(loss, parameters, allow_unused=True)]
        loss = loss.detach()
        if self._processes.size > 1:
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient
            loss = self._processes.average_gradients(parameters, loss, len(labels))
            for parameter in parameters:
                parameter.grad = None
        return found, loss
