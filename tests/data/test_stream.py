import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ddpnas.data._stream import Stream
from ddpnas.data.augment import Shard
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.splits import DatasetSplit
from ddpnas.errors import DataError


class Drawn(Dataset):
    """Items with a number, three draws, and the process that read them; number 13 is broken."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 13:
            raise DataError("the image 13.png cannot be read")
        draws = [torch.rand(()).item(), np.random.rand(), random.random()]
        return torch.tensor([index, *draws, os.getpid()], dtype=torch.float64), index % 2


def stream(workers, items=range(12)):
    indices = torch.tensor(list(items))
    return Stream([DatasetSplit(Drawn(), indices, indices % 2, workers)], pinned=False)


CHUNKS = torch.arange(12).split(3)


def read(source, seed, chunks=CHUNKS):
    seeds = range(100 * seed, 100 * seed + len(chunks))
    return torch.cat([inputs for inputs, _ in source.batches(chunks, seeds)])


def test_what_is_drawn_depends_on_the_seed_and_not_on_who_reads():
    alone, two = stream(0), stream(2)
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    here = read(alone, seed=5)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[2]
    assert (np.random.get_state()[1] == before[1]).all()
    first, other, again = (read(two, seed) for seed in (5, 6, 5))
    assert torch.equal(first[:, :4], here[:, :4]) and torch.equal(first[:, :4], again[:, :4])
    assert not torch.equal(first[:, 1:4], other[:, 1:4])
    assert here[:, 0].tolist() == list(range(12)) and (here[:, 4] == os.getpid()).all()
    pids = set(first[:, 4].tolist())
    assert len(pids) == 2 and os.getpid() not in pids
    assert set(again[:, 4].tolist()) == pids  # the same processes in every pass


def test_a_pass_that_is_given_up_leaves_nothing_for_the_next():
    two = stream(2)
    next(iter(two.batches(CHUNKS, range(4))))
    assert read(two, 2, CHUNKS[::-1])[:, 0].tolist() == [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_cannot_be_read_is_named(workers):
    with pytest.raises(DataError, match=r"^the image 13.png cannot be read$"):
        read(stream(workers, range(10, 20)), 0, [torch.arange(10)])


def drawn(batches):
    """Return the first draw of each batch."""
    return [inputs[0, 1].item() for inputs, _ in batches]


def test_no_two_batches_of_any_epoch_or_process_draw_alike():
    labels = torch.arange(12) % 2
    split = DatasetSplit(Drawn(), torch.arange(12), labels)
    data = Data("drawn", ("a", "b"), split, split, None, (5,))
    loaders = [Loader(data, [split], torch.device("cpu"), shard=Shard(n, 2)) for n in (0, 1)]
    alone = Loader(data, [split], torch.device("cpu"))
    passes = [one.train_batches(4, seed) for one in loaders for seed in (0, 1, 2)]
    assert len({draw for one in passes for draw in drawn(one)}) == 2 * 3 * 3
    # An evaluation draws the same, whichever process has the batch.
    shared = [draw for one in loaders for draw in drawn(one.eval_batches(3))]
    whole = drawn(alone.eval_batches(3))
    assert len(set(whole)) == 4 and sorted(shared) == sorted(whole)
