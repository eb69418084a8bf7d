"""Counting correct predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["balanced_weights", "confusion", "is_at_chance"]


Batches = Iterable[tuple[Tensor, Tensor]]


def confusion(model: nn.Module, batches: Batches, classes: int) -> Tensor:
    """Return the number of inputs by (label, predicted class), int64.

    Example:
        >>> batches = [(torch.eye(2), torch.tensor([0, 0]))]
        >>> confusion(nn.Identity(), batches, classes=2)
        tensor([[1, 1],
                [0, 0]])
    """
    counts = torch.zeros(classes * classes, dtype=torch.long)
    with torch.inference_mode():
        for inputs, labels in batches:
            pairs = labels * classes + model(inputs).argmax(dim=1)
            counts += torch.bincount(pairs, minlength=classes * classes).cpu()
    return counts.view(classes, classes)


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
