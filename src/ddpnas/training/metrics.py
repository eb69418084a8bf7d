"""Counting right answers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["confusion"]


Batches = Iterable[tuple[Tensor, Tensor]]


def confusion(model: nn.Module, batches: Batches, classes: int) -> Tensor:
    """Return how many inputs of each class were taken for each: (label, largest output) int64."""
    counts = torch.zeros(classes * classes, dtype=torch.long)
    with torch.inference_mode():
        for inputs, labels in batches:
            pairs = labels * classes + model(inputs).argmax(dim=1)
            counts += torch.bincount(pairs, minlength=classes * classes).cpu()
    return counts.view(classes, classes)
