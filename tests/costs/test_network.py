"""What one network costs, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, count_costs, count_network
from ddpnas.errors import OptionError


class Small(nn.Module):
    """Two convolutions, a sum over a long way round, and a buffer that is stored."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 1)
        self.register_buffer("scratch", torch.zeros(100), persistent=False)

    def forward(self, x):
        first = torch.relu(self.norm(self.first(x)))
        return first + self.second(first)


def test_every_number_is_the_one_worked_out_by_hand():
    counted = count_network(Small(), (1, 8, 8))
    image = 4 * 64 * 4  # 4 channels of 8x8 in float32
    assert counted["macs"] == 64 * 36 + 64 * 16
    assert counted["params"] == 36 + 8 + 16 + 4
    assert counted["size_bytes"] == 4 * (64 + 8) + 8  # and the number of batches, int64
    assert counted["activation_bytes"] == 2 * image  # relu, norm and sum are elementwise
    # the input, `first`, and at the end what `second` gave and the sum
    assert counted["peak_activation_bytes"] == image // 4 + 3 * image


@pytest.mark.parametrize(
    ("weights", "size"),
    [("float16", 2 * 72 + 8), ("int8", (36 + 4 * 4) + (16 + 4 * 4) + 4 * (12 + 8) + 8)],
)
def test_the_size_follows_the_type_of_the_weights(weights, size):
    assert count_network(Small(), (1, 8, 8), weights=weights)["size_bytes"] == size


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_a_scale_for_each_output_channel(groups):
    network = nn.ConvTranspose2d(4, 8, 3, groups=groups)
    size = count_network(network, (4, 5, 5), weights="int8")["size_bytes"]
    assert size == 4 * 8 * 9 // groups + 4 * 8 + 4 * 8  # weights, scales, biases

    def chosen(choose):
        return choose("up", {"yes": lambda: network, "no": lambda: nn.ConvTranspose2d(4, 8, 3)})

    space = SearchSpace(chosen, (4, 5, 5))
    assert count_costs(space, weights="int8")["size_bytes"].cost({"up": "yes"}) == size


def test_the_size_is_that_of_the_stored_file(tmp_path):
    from safetensors.torch import save_file

    save_file(Small().state_dict(), tmp_path / "small.safetensors")
    content = (tmp_path / "small.safetensors").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    assert count_network(Small(), (1, 8, 8))["size_bytes"] == len(content) - header


def test_the_peak_of_a_chain_is_that_of_its_widest_pair():
    chain = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 1, 1))
    for module in (chain, nn.Sequential(chain, nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))):
        peak = count_network(module, (2, 5, 5))["peak_activation_bytes"]
        assert peak == 25 * 4 * (2 + 8 + 16)  # the caller holds the example throughout


def test_a_view_takes_no_memory_and_the_network_stays_as_it_was():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).train()
    counted = count_network(network, (3, 2, 2))
    assert counted["activation_bytes"] == 8
    assert counted["peak_activation_bytes"] == 48 + 8
    assert network.training and next(network.parameters()).device.type == "cpu"


class Fails(nn.Module):
    """Raises an error in its forward pass."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (AssertionError("Wrong image height!\nExpected 224"), "Wrong image height!"),
        (AssertionError(), "AssertionError"),
        (KeyError(), "KeyError"),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_whatever_a_network_raises_is_one_sentence(error, says):
    with pytest.raises(OptionError, match=rf"on an input of shape \(1, 8, 8\): {says}$"):
        count_network(Fails(error), (1, 8, 8))


def test_an_unknown_type_of_weights_is_refused():
    with pytest.raises(OptionError, match="did you mean 'int8'"):
        count_network(Small(), (1, 8, 8), weights="int4")


def test_shared_parameters_are_counted_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    counted = count_network(nn.Sequential(first, second), (3,))
    assert counted["params"] == 9 + 3 + 3 and counted["macs"] == 18
