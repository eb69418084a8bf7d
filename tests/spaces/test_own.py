"""A user's own space from a file."""

import textwrap

import pytest
import torch

from ddpnas import SpaceError
from ddpnas.spaces.own import is_file_space, space_from_file

FILE = """
import torch
from torch import nn
from ddpnas import Rule, SearchSpace

def network(choose, *, width=4, num_classes=2):
    layers = {"plain": lambda: nn.Linear(width, width), "nothing": nn.Identity}
    return nn.Sequential(
        nn.Embedding(9, width),
        *(choose(f"layer{i}", layers) for i in (1, 2)),
        nn.Flatten(),
        nn.Linear(3 * width, num_classes),
    )

rule = Rule({("layer1", "plain"): 1.0, ("layer2", "plain"): 1.0}, says="one layer", lower=1.0)
space = SearchSpace(network, (3,), input_dtype=torch.int64, rules=[rule])
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def test_a_space_in_a_file_keeps_its_rules_and_its_input_type(file):
    space = space_from_file(f"{file}:space", width=8, num_classes=5, input_shape=(3,))
    assert (space.name, space.output_shape) == (f"{file}:space", (5,))
    assert space.input_dtype == torch.int64 and space.valid_size == 3
    assert space.options["width"] == 8


def test_what_is_no_space_is_told(file):
    with pytest.raises(SpaceError, match="did you mean 'space'"):
        space_from_file(f"{file}:spaze")
    with pytest.raises(SpaceError, match="unknown network function 'number'"):
        space_from_file(f"{file}:number")
    with pytest.raises(SpaceError, match="there is no file"):
        space_from_file(f"{file}x.py:space")


def test_a_file_space_is_recognised_by_its_form():
    assert is_file_space("a/b.py:network") and not is_file_space("nasbench201")
