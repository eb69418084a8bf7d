"""Counting correct predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ddpnas.errors import DivergedError

__all__ = ["balanced_weights", "confusion", "is_at_chance", "not_numbers"]


Batches = Iterable[tuple[Tensor, Tensor]]


def confusion(model: nn.Module, batches: Batches, classes: int) -> Tensor:
    """Return the number of inputs by (label, predicted class), int64.

    Raises:
        DivergedError: The network answers with NaN, which is no class.

    Example:
        >>> batches = [(torch.eye(2), torch.tensor([0, 0]))]
        >>> confusion(nn.Identity(), batches, classes=2)
        tensor([[1, 1],
                [0, 0]])
    """
    counts = torch.zeros(classes * classes, dtype=torch.long)
    strange = 0
    with torch.inference_mode():
        for inputs, labels in batches:
            outputs = model(inputs)
            pairs = labels * classes + outputs.argmax(dim=1)
            counts += torch.bincount(pairs, minlength=classes * classes).cpu()
            strange += int(outputs.isnan().any(dim=1).sum())
    if strange:
        raise DivergedError(not_numbers(strange, int(counts.sum())))
    return counts.view(classes, classes)


def not_numbers(strange: int, inputs: int) -> str:
    """Return the sentence about a network whose outputs are NaN for some inputs.

    Args:
        strange: Number of these inputs.
        inputs: Number of all inputs.
    """
    return (
        f"the network answers {strange} of {inputs} inputs with values that are not numbers; its "
        f"weights or these inputs are damaged, or it cannot deal with such inputs"
    )


# A loss this close to that of guessing, and an accuracy within two standard deviations of it.
_NEARLY, _DEVIATIONS = 0.98, 2.0


def is_at_chance(
    confusion: Sequence[Sequence[int]],
    loss: float,
    smoothing: float = 0.0,
    *,
    balanced: bool = False,
) -> bool:
    """Return whether a network does as well as one that only knows how frequent each class is.

    Such a network names the most frequent class, and its loss is the entropy of the classes: ln C
    for C equally frequent ones.

    Args:
        confusion: Numbers of items by (label, predicted class).
        loss: Cross-entropy over a whole epoch.
        smoothing: Label smoothing of that loss.
        balanced: Whether each class has the same weight in that loss. Classes then count alike in
            the accuracy, too.

    Example:
        >>> is_at_chance([[0, 50], [0, 50]], loss=math.log(2))
        True
        >>> is_at_chance([[40, 10], [10, 40]], loss=0.5)
        False
    """
    sizes = [sum(row) for row in confusion]
    if balanced:  # as if each class had as many items as any other
        known = [(row[i] / n, n) for i, row in enumerate(confusion) if (n := sizes[i])]
        shares = [1 / len(known)] * len(known)
        right = sum(share for share, _ in known) / len(known)
        deviation = math.sqrt(sum(1 / n for _, n in known)) / len(known)
    else:
        shares = [n / sum(sizes) for n in sizes]
        right = sum(row[i] for i, row in enumerate(confusion)) / sum(sizes)
        deviation = 1 / math.sqrt(sum(sizes))
    smooth = [(1 - smoothing) * share + smoothing / len(shares) for share in shares]
    entropy = -sum(share * math.log(share) for share in smooth if share > 0)
    most = max(shares)
    spread = math.sqrt(most * (1 - most)) * deviation
    return loss >= _NEARLY * entropy and right <= most + _DEVIATIONS * spread


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return weights that give each class the same weight in all, (C,).

    Args:
        labels: (N,) int64.
        classes: Number of classes C.

    Example:
        >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())
