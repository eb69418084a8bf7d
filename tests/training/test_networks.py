"""Networks by name: their published sizes, and what they are fitted to."""

import pytest
import torch

from ddpnas import count_network
from ddpnas.errors import OptionError
from ddpnas.training._heads import head_of
from ddpnas.training.networks import find_network

NET = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 7), nn.Identity(),
        )

def dilated():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same", dilation=2, padding_mode="reflect", bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7),
    )

def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 7)
    )

def sized(num_classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[1] ** 2, num_classes))

def headless():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

def wrong():
    return 3

def fails():
    raise ValueError("not today")

class Picky(nn.Module):
    def forward(self, x):
        raise KeyError
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(NET)
    return f"{tmp_path / 'mine.py'}"


def torchvision(name, input_shape, classes):
    return find_network(f"torchvision:{name}").build(classes, input_shape)


@pytest.mark.parametrize(
    "name, params, macs",
    [("resnet18", 11_689_512, 1_814_073_344), ("mobilenet_v2_x0.5", 1_968_680, None)],
)
def test_the_published_networks_have_their_published_costs(name, params, macs):
    with torch.device("meta"):
        counted = count_network(torchvision(name, (3, 224, 224), 1000), (3, 224, 224))
    assert counted["params"] == params
    assert macs is None or counted["macs"] == macs


def test_the_first_convolution_fits_the_images():
    network = torchvision("resnet18", (1, 28, 28), 10)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    color = count_network(torchvision("resnet18", (3, 28, 28), 10), (3, 28, 28))
    gray = count_network(network, (1, 28, 28))
    assert color["params"] - gray["params"] == 2 * 64 * 49
    assert color["macs"] - gray["macs"] == 2 * 64 * 49 * 14 * 14


def test_a_network_of_timm_fits_the_images():
    network = find_network("timm:test_resnet").build(5, (1, 32, 32))
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    assert network.training and head_of(network) == "fc"


@pytest.mark.parametrize("name", ["Small", "sized"])
def test_a_network_of_a_users_file_fits_images_and_classes(file, name):
    network = find_network(f"{file}:{name}").build(5, (1, 8, 8))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 5)


def test_a_first_convolution_for_gray_images_keeps_its_other_settings(file):
    color, gray = (find_network(f"{file}:dilated").build(5, (n, 8, 8))[0] for n in (3, 1))
    assert gray.in_channels == 1 and gray.bias is None
    for name in ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode"):
        assert getattr(gray, name) == getattr(color, name)


@pytest.mark.parametrize(
    "name, says",
    [
        ("torchvision:resnet19", "did you mean 'resnet1"),
        ("torchvision:resnet18_x0.5", "takes no width"),
        ("torchvision:alexnet", "alexnet cannot take images of 1x28x28.*(--image-size)"),
        ("timm:resnet19", r"timm has no network 'resnet19': did you mean resnet"),
        ("timm:resnet18.none", "unknown weights of timm's resnet18 'none'"),
        ("timm:hf-hub:someone/something", "timm has no network"),
        ("timm:vit_tiny_patch16_224", "its own are 224 pixels a side"),
        ("resnet18", "names no network; give timm:NAME, torchvision:NAME or FILE.py:function"),
        ("none.py:network", "no file 'none.py' with a network"),
        ("FILE:headless", "no last linear layer to replace"),
        ("FILE:grouped", "3 channels in 3 groups, and these images have 1; give its function a"),
        ("FILE:wrong", "returns a int; it must return a torch.nn.Module"),
        ("FILE:fails", "mine.py fails in line .*not today"),
        ("FILE:Picky", "Picky cannot take images of 1x28x28: KeyError$"),
        ("FILE:smal", "unknown network function 'smal'"),
        ("FILE", "which network function of"),
    ],
)
def test_what_is_no_network_for_these_images_is_refused(file, name, says):
    with pytest.raises(OptionError, match=says) as refused:
        find_network(name.replace("FILE", file)).build(10, (1, 28, 28))
    assert "\n" not in str(refused.value)
