import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ddpnas.data._stream import Stream
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
    return torch.cat([inputs for inputs, _ in source.batches(chunks, seed)])


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
    next(iter(two.batches(CHUNKS, seed=1)))
    assert read(two, 2, CHUNKS[::-1])[:, 0].tolist() == [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_cannot_be_read_is_named(workers):
    with pytest.raises(DataError, match=r"^the image 13.png cannot be read$"):
        read(stream(workers, range(10, 20)), 0, [torch.arange(10)])
