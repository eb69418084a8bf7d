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
    """A split held in memory: inputs and labels as tensors.

    Attributes:
        inputs: (N, ...); uint8 images are (N, C, H, W).
        labels: (N,) int64.

    Example:
        >>> split = TensorSplit(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))
        >>> split.subset([1, 3]).labels
        tensor([1, 1])
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
    """A split read item by item: some items of a map-style dataset.

    Attributes:
        dataset: Returns (input, label) for an index; all inputs are tensors of one shape.
        indices: (N,) indices of the items of this split.
        labels: (N,) int64, labels of the items of this split.
        workers: Processes that read ahead.
        names: Names of the items if they have any, of files with their sizes; part of the
            fingerprint.

    Example:
        >>> items = [(torch.zeros(2), label) for label in (0, 1, 0)]
        >>> split = DatasetSplit(items, torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> len(split)
        2
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
