"""Counting correct predictions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["confusion"]


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
