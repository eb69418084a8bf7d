"""One pass over the data: training some parameters, or counting right answers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import DivergedError, OptionError
from ddpnas.training.cuda_graphs import Captures
from ddpnas.training.distributed import ALONE, Processes

__all__ = [
    "autocast",
    "confusion",
    "pick_device",
    "place",
    "train_epoch",
]

_Model = TypeVar("_Model", bound=nn.Module)
Batches = Iterable[tuple[Tensor, Tensor]]


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is the first accelerator, or else the CPU.

    Raises:
        OptionError: no such device here.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OptionError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def place(model: _Model, device: torch.device) -> _Model:
    """Return the model on the device, the weights of 2-D convolutions channels-last (faster)."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context of a forward pass in a precision: "no" is float32, or "bf16"."""
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


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


def confusion(model: nn.Module, batches: Batches, classes: int) -> Tensor:
    """Return how many inputs of each class were taken for each: (label, largest output) int64."""
    counts = torch.zeros(classes * classes, dtype=torch.long)
    with torch.inference_mode():
        for inputs, labels in batches:
            pairs = labels * classes + model(inputs).argmax(dim=1)
            counts += torch.bincount(pairs, minlength=classes * classes).cpu()
    return counts.view(classes, classes)
