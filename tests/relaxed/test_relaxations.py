"""Draws of options: what is as good as certain, and what a training that diverged left."""

import pytest
import torch

from ddpnas.relaxed.relaxations import RELAXATIONS


@pytest.mark.parametrize(
    "logits", [[0.0, 1e4, 0.0], [-1e30, 0.0, -1e30], [torch.nan] * 3, [0.0, torch.nan, 1.0]]
)
def test_two_different_paths_are_drawn_whatever_the_logits(logits):
    relaxation = RELAXATIONS["two-path"]
    _, positions = relaxation.draw(torch.tensor(logits), 1.0)
    assert len(set(positions)) == 2
    _, [one] = relaxation.path(torch.tensor(logits), 1.0)
    assert 0 <= one < 3


def test_a_certain_option_is_the_one_path():
    drawn = [RELAXATIONS["two-path"].path(torch.tensor([0.0, 1e4]), 1.0)[1] for _ in range(20)]
    assert drawn == [[1]] * 20
