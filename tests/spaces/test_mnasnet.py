"""The MnasNet space of Accel-NASBench."""

import pytest

from ddpnas import generate
from ddpnas.errors import ArchitectureError
from ddpnas.space.distribution import JointDistribution

from ..conftest import published_costs, published_space

SPACE = published_space("mnasnet")
EFFICIENTNET_B0 = SPACE.parse(
    "[[1, 3, 1, 1], [6, 3, 2, 1], [6, 5, 2, 1], [6, 3, 3, 1], [6, 5, 3, 1], [6, 5, 4, 1], "
    "[6, 3, 1, 1]]"
)


def test_it_has_28_decisions_and_the_sixth_block_up_to_four_layers():
    assert len(SPACE.decisions) == 28
    assert SPACE.size == (3 * 2 * 3 * 2) ** 6 * (3 * 2 * 4 * 2)
    assert SPACE["block6.layers"].options == ("1", "2", "3", "4")


def test_it_holds_efficientnet_b0_to_the_last_parameter():
    costs = published_costs("mnasnet")
    assert costs["params"].cost(EFFICIENTNET_B0) == 5_288_548  # as torchvision's
    assert costs["macs"].cost(EFFICIENTNET_B0) == 385_814_752


def test_limits_are_met_although_the_choices_of_a_block_multiply():
    uniform = JointDistribution.uniform(SPACE.decisions)
    found = generate(uniform, SPACE, {"macs": 60e6}, published_costs("mnasnet"))
    assert found.costs["macs"] <= 60e6


def test_the_text_is_a_list_of_four_numbers_a_block():
    assert SPACE.format(EFFICIENTNET_B0).startswith("[[1, 3, 1, 1], [6, 3, 2, 1], ")
    for text in ("[[1, 3, 1, 1]]", str([[1, 3, 1]] * 7), "7"):
        with pytest.raises(ArchitectureError, match="7 times"):
            SPACE.parse(text)
    with pytest.raises(ArchitectureError, match=r"block1\.kernel"):
        SPACE.parse(SPACE.format(EFFICIENTNET_B0).replace("[1, 3,", "[1, 7,"))
