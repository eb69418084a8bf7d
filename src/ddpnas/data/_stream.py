"""Stream: batches of items that are read one by one, by processes that read ahead.

The processes live as long as the stream, not just for one pass over the data: an epoch on a path
may be short, and starting processes takes as long as reading many images.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from ddpnas.data.splits import DatasetSplit
from ddpnas.errors import DataError

__all__ = ["Stream", "drawing"]

_AHEAD = 4  # batches that each process keeps ready


class Stream:
    """Batches of splits joined, read by as many processes as the first split names.

    Args:
        splits: Splits; their items are numbered consecutively.
        pinned: Whether batches lie in page-locked memory, from which a GPU copies faster.
    """

    def __init__(self, splits: Sequence[DatasetSplit], *, pinned: bool) -> None:
        parts = [Subset(split.dataset, split.indices.tolist()) for split in splits]
        workers = splits[0].workers
        self._asked: list[list[int]] = []
        self._loader: DataLoader[Any] = DataLoader(
            _Seeded(ConcatDataset(parts)),
            batch_sampler=_Asked(self._asked),
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=_AHEAD if workers > 0 else None,
            pin_memory=pinned,
            generator=torch.Generator(),
        )

    def batches(
        self, chunks: Sequence[Tensor], seeds: Iterable[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) of each chunk of item numbers; one pass at a time.

        Args:
            chunks: Numbers of the items of each batch.
            seeds: Seed of each batch, for random transforms of the dataset. Which process reads
                the batch does not matter.
        """
        asked = zip(seeds, chunks, strict=True)
        self._asked[:] = [[seed, *chunk.tolist()] for seed, chunk in asked]
        try:
            yield from self._loader
        except DataError as error:  # a worker adds its traceback to the sentence
            raise DataError(str(error).strip().splitlines()[-1].split("DataError: ")[-1]) from None


class _Asked:
    """The batches of the current pass, for a loader that outlives it."""

    def __init__(self, asked: list[list[int]]) -> None:
        self._asked = asked

    def __iter__(self) -> Iterator[list[int]]:
        return iter(list(self._asked))

    def __len__(self) -> int:
        return len(self._asked)


class _Seeded(Dataset[Any]):
    """Items of a dataset, read with a seed that comes with the numbers of a batch."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __getitem__(self, asked: Any) -> Any:
        raise NotImplementedError("items are asked for in batches")

    def __getitems__(self, asked: Sequence[int]) -> list[Any]:
        """Return the items; ``asked`` is the seed and then their numbers."""
        seed, *items = asked
        with drawing(seed):
            return [self._dataset[item] for item in items]


@contextlib.contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch, NumPy and Python inside; restore their states after."""
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)
