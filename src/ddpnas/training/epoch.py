"""One pass over the data: training some parameters, or counting right answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import DivergedError, OptionError

__all__ = ["accuracy", "confusion", "pick_device", "place", "train_epoch"]

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


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model on the device, the weights of 2-D convolutions channels-last (faster)."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    clip: float,
    label_smoothing: float = 0.0,
    auxiliary_weight: float = 0.4,
    after_step: Callable[[], object] | None = None,
) -> float:
    """Train on every batch once; return the mean loss, the cross-entropy of the outputs.

    Args:
        model: in training mode, on the device of the batches.
        batches: (inputs, labels).
        optimizer: over ``parameters``.
        parameters: those whose gradients are clipped and reset; the ones the model uses.
        clip: largest norm of the gradient over them together; 0 for no clipping.
        label_smoothing: of the cross-entropy.
        auxiliary_weight: of the loss of further outputs, of a model that returns a tuple while
            it trains (auxiliary heads; 0.4 in DARTS).
        after_step: called after each step, for schedules and averages.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    total: Tensor | None = None
    steps = 0
    for inputs, labels in batches:
        outputs = model(inputs)
        first, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = functional.cross_entropy(first, labels, label_smoothing=label_smoothing)
        for other in others:
            loss = loss + auxiliary_weight * functional.cross_entropy(
                other, labels, label_smoothing=label_smoothing
            )
        for parameter in parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if clip > 0:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        if after_step is not None:
            after_step()
        total = loss.detach() if total is None else total + loss.detach()
        steps += 1
    mean = float(total) / steps if total is not None else math.nan
    if not math.isfinite(mean):
        raise DivergedError(f"the training loss became {mean}")
    return mean


def accuracy(model: nn.Module, batches: Batches) -> float:
    """Return the fraction of inputs whose largest output is that of their label."""
    right: Tensor | None = None
    count = 0
    with torch.inference_mode():
        for inputs, labels in batches:
            hits = (model(inputs).argmax(dim=1) == labels).sum()
            right = hits if right is None else right + hits
            count += len(labels)
    return float(right) / count if right is not None else math.nan


def confusion(model: nn.Module, batches: Batches, classes: int) -> Tensor:
    """Return how many inputs of each class were taken for each: (label, largest output) int64."""
    counts = torch.zeros(classes * classes, dtype=torch.long)
    with torch.inference_mode():
        for inputs, labels in batches:
            pairs = labels * classes + model(inputs).argmax(dim=1)
            counts += torch.bincount(pairs, minlength=classes * classes).cpu()
    return counts.view(classes, classes)
