"""Seeds of a process and of the parts of a run."""

import random

import numpy as np
import torch

from ddpnas.utils.seeds import seeded


def test_all_generators_are_seeded_inside_and_go_on_outside():
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    with seeded(1):
        first = draw()
    before = draw()
    with seeded(1):
        assert draw() == first
    assert draw() != before
