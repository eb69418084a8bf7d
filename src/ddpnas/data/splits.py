"""A split: inputs and labels, in memory or item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["DatasetSplit", "Split", "TensorSplit"]


@dataclass(frozen=True)
class TensorSplit:
    """Inputs and labels held as tensors.

    Attributes:
        inputs: (N, ...); uint8 images are (N, C, H, W).
        labels: (N,) int64.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> TensorSplit:
        """Return the items at these positions."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorSplit(self.inputs[chosen], self.labels[chosen])


@dataclass(frozen=True)
class DatasetSplit:
    """Items ``indices`` of a map-style dataset whose inputs are tensors of one shape.

    Attributes:
        dataset: gives (input, label).
        indices: the items of this split.
        labels: (N,) int64, of the items of this split.
        workers: processes that read ahead.
        names: of the items, where they have any; part of the fingerprint.
    """

    dataset: Dataset[Any]
    indices: Tensor
    labels: Tensor
    workers: int = 0
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> DatasetSplit:
        """Return the items at these positions."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        names = tuple(self.names[i] for i in indices) if self.names else ()
        return replace(self, indices=self.indices[chosen], labels=self.labels[chosen], names=names)


Split = TensorSplit | DatasetSplit
