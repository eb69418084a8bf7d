"""Loader: batches of a split on the device, normalized, and augmented while training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ddpnas.data._stream import Stream
from ddpnas.data.augment import Augmentation, Shard
from ddpnas.data.data import Data
from ddpnas.data.preprocessing import Normalizer
from ddpnas.data.sieve import Sieve
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit
from ddpnas.utils.seeds import derive_seed

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

    Attributes:
        sieve: Says which items a pass reads; it may be set later. By default all of them.

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
        self.labels = torch.cat([split.labels for split in splits])
        self.sieve = Sieve(self.labels)
        # Numbers and labels of the items of the batch that was given last.
        self._given: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of items that a pass reads."""
        return len(self.sieve.kept)

    def batch_size(self, asked: int | None, at_once: int = 1) -> int:
        """Return the batch size asked for; for None, that of :func:`default_batch_size`.

        Args:
            asked: Batch size, or None to choose one.
            at_once: Number of batches in one step.
        """
        return asked or default_batch_size(len(self.labels), at_once)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of one training pass."""
        return max(1, len(self) // batch_size)

    def train_batches(self, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) in random order, augmented; an incomplete batch is skipped."""
        generator = torch.Generator().manual_seed(seed)
        order = self.sieve.kept[torch.randperm(len(self), generator=generator)]
        size = min(batch_size, len(self))
        whole = list(order[: self.steps(batch_size) * size].split(size))  # type: ignore[no-untyped-call]
        chunks = [self._shard.take(chunk) for chunk in whole]
        rank = self._shard.rank
        seeds = (derive_seed(seed, number, rank) for number in range(len(chunks)))
        for inputs, labels in self._read(chunks, seeds):
            yield self._prepare(inputs, (size, generator)), labels

    def eval_batches(
        self, batch_size: int, *, whole: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) in order, in batches whose sizes differ by one at most.

        Equal sizes matter where batch statistics are used (supernets).

        Args:
            batch_size: Largest number of items in a batch.
            whole: Whether to read all items, whatever the sieve keeps.
        """
        items = torch.arange(len(self.labels)) if whole else self.sieve.kept
        chunks = list(items.tensor_split(-(-len(items) // batch_size)))
        mine = range(len(chunks))[self._shard.rank :: self._shard.size]
        seeds = (derive_seed(0, number) for number in mine)
        for inputs, labels in self._read([chunks[number] for number in mine], seeds):
            yield self._prepare(inputs, None), labels

    def observe(self, outputs: Tensor) -> None:
        """Let the sieve see what the network said of the batch that was given last.

        Args:
            outputs: (n, classes) outputs before the softmax.
        """
        if self.sieve.observes and self._given is not None:
            items, labels = self._given
            self.sieve.observe(items, outputs, labels)

    def _read(self, chunks: list[Tensor], seeds: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        for chunk, (inputs, labels) in zip(chunks, self._items(chunks, seeds), strict=True):
            if self.sieve.classes is not None:  # the place of each label among the present ones
                labels = torch.searchsorted(self.sieve.classes.to(labels.device), labels)
            self._given = chunk, labels
            yield inputs, labels

    def _items(self, chunks: list[Tensor], seeds: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        first = self._splits[0]
        if isinstance(first, TensorSplit):
            for chunk in chunks:
                chosen = chunk.to(self.device, non_blocking=True)
                yield first.inputs[chosen], first.labels[chosen]
            return
        assert self._stream is not None
        for inputs, labels in self._stream.batches(chunks, seeds):
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
