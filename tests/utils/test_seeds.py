"""Seeds of a process and of the parts of a run."""

import random

import numpy as np
import torch

from ddpnas.utils.seeds import derive_seed, seeded


def test_all_generators_are_seeded_inside_and_go_on_outside():
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    with seeded(1):
        first = draw()
    before = draw()
    with seeded(1):
        assert draw() == first
    assert draw() != before


def test_seeds_of_parts_differ_but_for_zeros_at_the_end():
    parts = [(s, *rest) for s in range(4) for rest in ((), (1,), (2,), (0, 1), (1, 2), (2, 1))]
    assert len({derive_seed(*one) for one in parts}) == len(parts)
    assert derive_seed(5, 0) == derive_seed(5)
