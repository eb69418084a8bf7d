"""Loader: batches of a split on the device, normalized, and augmented while training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ddpnas.data._stream import Stream
from ddpnas.data.augment import Augmentation, Shard
from ddpnas.data.data import Data
from ddpnas.data.preprocessing import Normalizer
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit

__all__ = ["Loader", "default_batch_size"]


def default_batch_size(items: int, at_once: int = 1) -> int:
    """Return a batch size that suits the number of items.

    That is 128, or less for small sets, in multiples of 8 and at least 16. An epoch should have 40
    steps: with fewer, weights hardly move.

    Args:
        items: Number of items of an epoch.
        at_once: Number of batches in one step.

    Example:
        >>> [default_batch_size(items) for items in (100, 1_000, 50_000)]
        [16, 24, 128]
    """
    return min(128, max(16, items // at_once // 40 // 8 * 8))


class Loader:
    """Batches of one split, or of several joined.

    Splits in memory are copied to the device once (images as uint8) and are normalized and
    augmented there, batch by batch. All randomness comes from the seed of each pass, so a pass
    can be repeated exactly, whatever was drawn before.

    Args:
        data: Supplies the normalization and whether images may be mirrored.
        splits: Either all TensorSplit or all DatasetSplit.
        device: Device for the batches.
        augmentation: Augmentation of training batches; it may be set later. By default images are
            shifted, and mirrored if the data allows that.
        shard: The part of every training batch that this process gets. Of the evaluation batches
            it gets whole ones, so that their statistics are those of a single process.

    Example:
        >>> from ddpnas.data.data import make_data
        >>> images = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
        >>> data = make_data((images, torch.arange(40) % 2))
        >>> loader = Loader(data, [data.train], torch.device("cpu"))
        >>> inputs, labels = next(loader.train_batches(16, seed=0))
        >>> inputs.shape, inputs.dtype
        (torch.Size([16, 1, 8, 8]), torch.float32)
    """

    def __init__(
        self,
        data: Data,
        splits: list[Split],
        device: torch.device,
        *,
        augmentation: Augmentation | None = None,
        shard: Shard | None = None,
    ) -> None:
        self.device = device
        self.augmentation = augmentation or Augmentation(flip=data.flip)
        self._shard = shard or Shard()
        self._splits: list[Split] = [
            TensorSplit(s.inputs.to(device), s.labels.to(device))
            if isinstance(s, TensorSplit)
            else s
            for s in splits
        ]
        tensors = [s for s in self._splits if isinstance(s, TensorSplit)]
        if len(tensors) == len(self._splits) and len(tensors) > 1:
            self._splits = [
                TensorSplit(
                    torch.cat([s.inputs for s in tensors]), torch.cat([s.labels for s in tensors])
                )
            ]
        streamed = [s for s in self._splits if isinstance(s, DatasetSplit)]
        self._stream = Stream(streamed, pinned=device.type == "cuda") if streamed else None
        self._normalize = Normalizer(data.mean, data.std, device) if data.mean else None

    def __len__(self) -> int:
        return sum(len(split) for split in self._splits)

    def batch_size(self, asked: int | None, at_once: int = 1) -> int:
        """Return the batch size asked for; for None, that of :func:`default_batch_size`.

        Args:
            asked: Batch size, or None to choose one.
            at_once: Number of batches in one step.
        """
        return asked or default_batch_size(len(self), at_once)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of one training pass."""
        return max(1, len(self) // batch_size)

    def train_batches(self, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) in random order, augmented; an incomplete batch is skipped."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        size = min(batch_size, len(self))
        whole = list(order[: self.steps(batch_size) * size].split(size))  # type: ignore[no-untyped-call]
        chunks = [self._shard.take(chunk) for chunk in whole]
        for inputs, labels in self._read(chunks, seed):
            yield self._prepare(inputs, (size, generator)), labels

    def eval_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all (inputs, labels) in order, in batches whose sizes differ by one at most.

        Equal sizes matter where batch statistics are used (supernets).
        """
        chunks = list(torch.arange(len(self)).tensor_split(-(-len(self) // batch_size)))
        chunks = chunks[self._shard.rank :: self._shard.size]
        for inputs, labels in self._read(chunks, seed=0):
            yield self._prepare(inputs, None), labels

    def _read(self, chunks: list[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        first = self._splits[0]
        if isinstance(first, TensorSplit):
            for chunk in chunks:
                chosen = chunk.to(self.device, non_blocking=True)
                yield first.inputs[chosen], first.labels[chosen]
            return
        assert self._stream is not None
        for inputs, labels in self._stream.batches(chunks, seed):
            yield (
                inputs.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )

    def _prepare(self, inputs: Tensor, training: tuple[int, torch.Generator] | None) -> Tensor:
        if self._normalize is None:
            return inputs
        if training is None:
            return self._normalize(inputs)
        count, generator = training
        images = self.augmentation.of_images(inputs, count, self._shard, generator)
        return self.augmentation.of_inputs(self._normalize(images), count, self._shard, generator)
