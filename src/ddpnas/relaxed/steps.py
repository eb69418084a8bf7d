"""MixtureStep: the logits of a mixture learn from one batch, then the weights from another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.relaxed.expected_cost import CostPenalty
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.partial_channels import PartialChannels, edge_weights
from ddpnas.relaxed.unrolled import Gradients, second_order
from ddpnas.relaxed.widths import MixedWidths
from ddpnas.space.outputs import main_output
from ddpnas.space.supernet import Supernet
from ddpnas.training.device import autocast
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.training.steps import TrainStep
from ddpnas.utils.seeds import derive_seed, seeded

__all__ = ["Batch", "MixtureStep"]

Batch = tuple[Tensor, Tensor]
"""Inputs and labels, of this process's shard."""

Observe = Callable[[Tensor], object]


class MixtureStep:
    """One step of a mixture on a training and a validation batch.

    Args:
        supernet: The network, in training mode.
        mixture: The logits.
        weight_optimizer: SGD of all weights, in one group.
        logit_optimizer: Optimizer of the logits.
        order: 1, or 2 for :func:`ddpnas.relaxed.unrolled.second_order`.
        penalty: What expected costs add to the loss of the logits; None adds nothing.
        clip: Largest norm of the gradient of the weights; 0 does not clip.
        precision: "no" or "bf16", see :func:`ddpnas.training.device.autocast`.
        processes: The processes that train together.
        observe: Called with the outputs for training batches; no gradient is taken.
        observe_valid: Called with the outputs for the batches that the logits learn from.

    Example:
        >>> from ddpnas import create_space
        >>> from ddpnas.relaxed.relaxations import RELAXATIONS
        >>> space = create_space("toy", input_shape=(1, 8, 8))
        >>> supernet = space.supernet(seed=0)
        >>> mixture = Mixture(space.decisions, RELAXATIONS["softmax"])
        >>> sgd = torch.optim.SGD(supernet.parameters(), lr=0.1)
        >>> step = MixtureStep(supernet, mixture, sgd, torch.optim.Adam(mixture.parameters()))
        >>> batch = torch.randn(8, 1, 8, 8), torch.arange(8) % 2
        >>> loss, valid_loss = step(batch, batch, temperature=1.0, seed=0)
        >>> loss.shape
        torch.Size([])
    """

    def __init__(
        self,
        supernet: Supernet,
        mixture: Mixture,
        weight_optimizer: torch.optim.Optimizer,
        logit_optimizer: torch.optim.Optimizer,
        *,
        order: int = 1,
        penalty: CostPenalty | None = None,
        clip: float = 0.0,
        precision: str = "no",
        processes: Processes = ALONE,
        observe: Observe | None = None,
        observe_valid: Observe | None = None,
    ) -> None:
        self._observe_valid = observe_valid
        self._supernet, self._mixture = supernet, mixture
        self._choices = MixedChoices(supernet)
        self._widths = MixedWidths(supernet, mixture.decisions)
        self._edges = [m for m in supernet.modules() if isinstance(m, PartialChannels)]
        self._weights = list(supernet.parameters())
        self._weight_optimizer, self._logit_optimizer = weight_optimizer, logit_optimizer
        self._order, self._penalty = order, penalty
        self._precision, self._processes = precision, processes
        self._train = TrainStep(
            supernet,
            weight_optimizer,
            self._weights,
            clip=clip,
            precision=precision,
            processes=processes,
            observe=observe,
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
        return self.train(train, temperature=temperature, seed=derive_seed(seed, 1)), valid_loss

    def drop(self, rates: Mapping[str, float]) -> None:
        """Set the dropout on the outputs of options from now on, by the name of the option."""
        self._choices.dropout = dict(rates)

    def held_bytes(self, inputs: Tensor) -> int:
        """Return the bytes that a step on the logits keeps until it has computed gradients.

        Args:
            inputs: Inputs of a batch.
        """
        own = {weight.untyped_storage().data_ptr() for weight in self._weights}
        held: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        draws = self._mixture.draw(1.0, 0)
        noting = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with seeded(0), noting, self._mixed(draws), autocast(inputs.device, self._precision):
            outputs = self._supernet(inputs)
        del outputs  # until here, no memory was used a second time
        return sum(held.values())

    def train(self, batch: Batch, *, temperature: float, seed: int) -> Tensor:
        """Move the weights alone; return the loss of the mixture.

        Args:
            batch: The batch that the weights learn from.
            temperature: Temperature of the relaxation.
            seed: Seed of the draw.
        """
        draws = self._mixture.draw(temperature, seed, path=True)
        fixed = {name: draw.detached() for name, draw in draws.items()}
        with self._mixed(fixed):
            return self._train(*batch)

    def train_jointly(self, batch: Batch, *, temperature: float, seed: int) -> Tensor:
        """Move weights and logits by the gradient of one loss; return it.

        Args:
            batch: The batch that both learn from.
            temperature: Temperature of the relaxation.
            seed: Seed of the draw.
        """
        logits = self._mixture.parameters()
        for parameter in logits:
            parameter.grad = None
        draws = self._mixture.draw(temperature, seed)
        with self._mixed(draws):
            loss = self._train(*batch)
        self._processes.average_gradients(logits, loss, len(batch[1]))
        self._update_logits(draws)
        return loss

    @contextlib.contextmanager
    def _mixed(self, draws: Mapping[str, Draw]) -> Iterator[None]:
        weights = {name: draw.weights for name, draw in draws.items()}
        edges = edge_weights(self._edges, draws)
        with self._choices(draws), self._widths(weights), edges:
            yield

    def _move_logits(self, train: Batch, valid: Batch, temperature: float, seed: int) -> Tensor:
        logits = self._mixture.parameters()

        draws: dict[str, Draw] = {}  # the same at each call, but gradients reach the last one only

        def slopes(
            batch: Batch,
            parameters: Sequence[nn.Parameter],
            penalty: CostPenalty | None = None,
            observe: Observe | None = None,
        ) -> tuple[Gradients, Tensor]:
            draws.update(self._mixture.draw(temperature, seed))
            return self._slopes(batch, draws, parameters, penalty, observe)

        if self._order == 1:
            found, loss = slopes(valid, logits, self._penalty, self._observe_valid)
        else:
            found, loss = second_order(
                lambda parameters: slopes(train, parameters),
                lambda parameters: slopes(valid, parameters, self._penalty, self._observe_valid),
                logits,
                self._weights,
                self._weight_optimizer,
            )
        for parameter, gradient in zip(logits, found, strict=True):
            parameter.grad = gradient
        self._update_logits(draws)
        return loss

    def _update_logits(self, draws: Mapping[str, Draw]) -> None:
        """Move the logits by their gradients."""
        # Adam decays and carries on what it holds, so logits that took no part are put back.
        before = [parameter.detach().clone() for parameter in self._mixture.parameters()]
        self._logit_optimizer.step()
        self._mixture.restore(before, draws)

    def _slopes(
        self,
        batch: Batch,
        draws: Mapping[str, Draw],
        parameters: Sequence[nn.Parameter],
        penalty: CostPenalty | None,
        observe: Observe | None,
    ) -> tuple[Gradients, Tensor]:
        """Return the gradients of a batch's loss over all processes, and the loss."""
        inputs, labels = batch
        with self._mixed(draws), autocast(inputs.device, self._precision):
            outputs = main_output(self._supernet(inputs))
            loss = functional.cross_entropy(outputs, labels)
        if observe is not None:
            observe(outputs.detach())
        whole = loss if penalty is None else penalty(loss, self._mixture.mean())
        whole = self._processes.weighted(whole, len(labels))
        found: Gradients = [*torch.autograd.grad(whole, parameters, allow_unused=True)]
        loss = self._processes.weighted(loss.detach(), len(labels))
        if self._processes.size > 1:
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient
            loss = self._processes.average_gradients(parameters, loss, len(labels))
            for parameter in parameters:
                parameter.grad = None
        return found, loss
