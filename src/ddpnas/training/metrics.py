"""Counting correct predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["confusion", "is_at_chance"]


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


def is_at_chance(confusion: Sequence[Sequence[int]], loss: float, smoothing: float = 0.0) -> bool:
    """Return whether a network does as well as one that only knows how frequent each class is.

    Such a network names the most frequent class, and its loss is the entropy of the classes: ln C
    for C equally frequent ones.

    Args:
        confusion: Numbers of items by (label, predicted class).
        loss: Cross-entropy over a whole epoch.
        smoothing: Label smoothing of that loss.

    Example:
        >>> is_at_chance([[0, 50], [0, 50]], loss=math.log(2))
        True
        >>> is_at_chance([[40, 10], [10, 40]], loss=0.5)
        False
    """
    items = sum(map(sum, confusion))
    shares = [sum(row) / items for row in confusion]
    smooth = [(1 - smoothing) * share + smoothing / len(shares) for share in shares]
    entropy = -sum(share * math.log(share) for share in smooth if share > 0)
    most = max(shares)
    right = sum(row[i] for i, row in enumerate(confusion)) / items
    spread = math.sqrt(most * (1 - most) / items)
    return loss >= _NEARLY * entropy and right <= most + _DEVIATIONS * spread
