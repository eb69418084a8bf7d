"""One pass over the data: training some parameters, or counting right answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import DivergedError
from ddpnas.training.cuda_graphs import Captures
from ddpnas.training.device import autocast
from ddpnas.training.distributed import ALONE, Processes
from ddpnas.training.metrics import Batches

__all__ = ["train_epoch"]


def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    clip: float,
    label_smoothing: float = 0.0,
    auxiliary_weight: float = 0.4,
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    accelerator: Any = None,
    after_step: Callable[[], object] | None = None,
    processes: Processes = ALONE,
    precision: str = "no",
    captures: Captures | None = None,
) -> float:
    """Train on every batch once; return the mean loss, the cross-entropy of the outputs.

    Args:
        model: in training mode, on the device of the batches.
        batches: (inputs, labels).
        optimizer: over ``parameters``.
        parameters: those whose gradients are clipped and reset; the ones the model uses.
        clip: largest norm of the gradient over them together; 0 for no clipping.
        label_smoothing: of the cross-entropy, unless ``mix`` smooths.
        auxiliary_weight: of the loss of further outputs, of a model that returns a tuple while
            it trains (auxiliary heads; 0.4 in DARTS).
        mix: makes mixed inputs and probabilities of inputs and labels.
        accelerator: an ``accelerate.Accelerator`` for mixed precision and several processes, of
            which all then return the mean over all.
        after_step: called after each step, for schedules and averages.
        processes: those that train together without an accelerator, each on its part of every
            batch.
        precision: of a training without an accelerator, see :func:`autocast`.
        captures: records the step where it can, of a training without ``mix``, an accelerator,
            ``after_step`` and other processes; the optimizer's settings are those of the start.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    smoothing = label_smoothing if mix is None else 0.0

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        if mix is not None:
            inputs, targets = mix(inputs, targets)
        with accelerator.autocast() if accelerator else autocast(inputs.device, precision):
            outputs = model(inputs)
            first, *others = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = functional.cross_entropy(first, targets, label_smoothing=smoothing)
            for other in others:
                loss = loss + auxiliary_weight * functional.cross_entropy(
                    other, targets, label_smoothing=smoothing
                )
        for parameter in parameters:
            parameter.grad = None
        if accelerator is None:
            loss = processes.weighted(loss, len(targets))
            loss.backward()  # type: ignore[no-untyped-call]
            loss = processes.average_gradients(parameters, loss.detach(), len(targets))
            if clip > 0:
                nn.utils.clip_grad_norm_(parameters, clip)
        else:
            accelerator.backward(loss)
            if clip > 0:
                accelerator.clip_grad_norm_(parameters, clip)
        optimizer.step()
        if after_step is not None:
            after_step()
        return loss.detach()

    run = step if captures is None else captures.step(step)
    total: Tensor | None = None
    steps = 0
    for inputs, targets in batches:
        loss = run(inputs, targets)
        total = loss if total is None else total + loss
        steps += 1
    if total is not None and accelerator is not None:
        total = accelerator.reduce(total, "mean")
    mean = float(total) / steps if total is not None else math.nan
    if not math.isfinite(mean):
        raise DivergedError(f"the training loss became {mean}")
    return mean
