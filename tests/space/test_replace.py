"""An existing network, some children of which are undecided."""

import pytest
import torch
import torchvision
from torch import nn

import ddpnas
from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.testing import SpaceContract


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


class TestReplaced(SpaceContract):
    def make_space(self):
        network = ddpnas.replaceable(
            small(),
            {
                "0": {"five": lambda: nn.Conv2d(3, 4, 5, padding=2)},
                "1.1": {"twice": lambda relu: nn.Sequential(relu, nn.Conv2d(4, 4, 1))},
            },
        )
        return ddpnas.SearchSpace(network, (3, 8, 8))


def test_the_original_is_an_option_with_its_weights_and_is_left_alone():
    model = small().eval()
    network = ddpnas.replaceable(model, {"1.1": {"tanh": nn.Tanh, "gelu": nn.GELU}})
    space = ddpnas.SearchSpace(network, (3, 8, 8))
    assert space.name == "Sequential" and space.decisions[0].options == ("original", "tanh", "gelu")
    images = torch.randn(2, 3, 8, 8)
    built = space.build({"1.1": "original"})
    torch.testing.assert_close(built(images), model(images))
    assert built[0].weight is not model[0].weight
    assert isinstance(space.build({"1.1": "tanh"})[1][1], nn.Tanh)
    assert isinstance(model[1][1], nn.ReLU)


def test_a_torchvision_resnet_becomes_a_space():
    network = ddpnas.replaceable(
        torchvision.models.resnet18(num_classes=10),
        {"layer2.0.conv1": {"five": lambda: nn.Conv2d(64, 128, 5, 2, 2, bias=False)}},
    )
    space = ddpnas.SearchSpace(network, (3, 64, 64))
    params = ddpnas.count_costs(space)["params"]
    more = params.cost({"layer2.0.conv1": "five"}) - params.cost({"layer2.0.conv1": "original"})
    assert more == 64 * 128 * (25 - 9)


def test_mistakes_are_told():
    with pytest.raises(
        SpaceError, match=r"unknown child of Sequential '1\.7': did you mean '1\.[01]'"
    ):
        ddpnas.replaceable(small(), {"1.7": {"tanh": nn.Tanh}})
    with pytest.raises(SpaceError, match="none named 'original'"):
        ddpnas.replaceable(small(), {"0": {"original": nn.Identity}})
    with pytest.raises(SpaceError, match=r"1\.1 lies inside 1"):
        ddpnas.replaceable(small(), {"1": {"none": nn.Identity}, "1.1": {"tanh": nn.Tanh}})
    network = ddpnas.replaceable(small(), {"0": {"wide": lambda: nn.Conv2d(3, 5, 3, padding=1)}})
    with pytest.raises(SpaceError, match=r"decision '0'.*original -> 2x4x8x8, wide -> 2x5x8x8"):
        ddpnas.SearchSpace(network, (3, 8, 8))
    space = ddpnas.SearchSpace(ddpnas.replaceable(small(), {"1.1": {"tanh": nn.Tanh}}), (3, 8, 8))
    with pytest.raises(ArchitectureError, match="did you mean 'tanh'"):
        space.build({"1.1": "tahn"})
