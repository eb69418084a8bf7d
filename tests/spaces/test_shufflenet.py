"""The ShuffleNetV2 space of Single Path One-Shot."""

import pytest
import torch

from ddpnas import count_costs
from ddpnas.errors import ArchitectureError
from ddpnas.spaces.shufflenet import ShuffleBlock

from ..conftest import published_space

SPACE = published_space("shufflenet")
SEARCHED = "[0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2]"


def test_there_are_4_to_the_20():
    assert SPACE.size == 4**20


def test_the_network_that_the_paper_found_has_its_319_million_multiply_adds():
    costs = count_costs(SPACE)
    assert costs["macs"].cost(SPACE.parse(SEARCHED)) == 318_729_024
    assert costs["params"].cost(SPACE.parse(SEARCHED)) == 3_345_088


def test_digits_are_read_as_a_list_or_alone():
    digits = SEARCHED.translate(str.maketrans("", "", "[], "))
    assert SPACE.parse(digits) == SPACE.parse(SEARCHED)
    assert SPACE.format(SPACE.parse(digits)) == SEARCHED
    for text in (digits[:-1], digits[:-1] + "4", "nonsense", SEARCHED.replace("3", "'3'")):
        with pytest.raises(ArchitectureError, match="20 digits from 0 to 3"):
            SPACE.parse(text)


def test_half_of_the_channels_pass_a_block_unchanged():
    block = ShuffleBlock(8, 8, 3, 0, False, searching=False)
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(block(x)[:, :4], x[:, 0::2])
