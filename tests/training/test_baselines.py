"""Known networks of torchvision, with their published numbers of parameters."""

import pytest
import torch

from ddpnas import count_network
from ddpnas.errors import OptionError
from ddpnas.training.baselines import build_baseline


@pytest.mark.parametrize(
    "name, params, macs",
    [("resnet18", 11_689_512, 1_814_073_344), ("mobilenet_v2_x0.5", 1_968_680, None)],
)
def test_the_published_networks_have_their_published_costs(name, params, macs):
    with torch.device("meta"):
        counted = count_network(build_baseline(name, (3, 224, 224), 1000), (3, 224, 224))
    assert counted["params"] == params
    assert macs is None or counted["macs"] == macs


def test_the_first_convolution_fits_the_images():
    network = build_baseline("resnet18", (1, 28, 28), 10)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    colour = count_network(build_baseline("resnet18", (3, 28, 28), 10), (3, 28, 28))
    grey = count_network(network, (1, 28, 28))
    assert colour["params"] - grey["params"] == 2 * 64 * 49
    assert colour["macs"] - grey["macs"] == 2 * 64 * 49 * 14 * 14


@pytest.mark.parametrize(
    "name, says",
    [
        ("resnet19", "did you mean 'resnet1"),
        ("resnet18_x0.5", "takes no width"),
        ("alexnet", "alexnet cannot take images of 1x28x28"),
    ],
)
def test_what_is_no_network_for_these_images_is_refused(name, says):
    with pytest.raises(OptionError, match=says):
        build_baseline(name, (1, 28, 28), 10)
