"""Which channels go first, and how BatchNorm is set afterwards."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ddpnas.errors import OptionError
from ddpnas.shrinking import cut_channels, find_groups, order_channels, recalibrate
from ddpnas.shrinking.importance import IMPORTANCES

from .networks import ALL, INPUT, Residual, Shuffled, images, trained


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("kind", ALL)
def test_every_class_has_a_place(kind, importance):
    network = trained(kind())
    groups = find_groups(network, INPUT)
    order = order_channels(network, groups, importance, [(images(), torch.arange(4))])
    for group in groups:
        for part, ranks in zip(group.parts, order[group.name], strict=True):
            assert sorted(ranks.tolist()) == list(range(part.classes))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert cut_channels(network, groups, {g.name: g.widths[0] for g in groups}, order)(
        images()
    ).shape == (4, 5)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_the_device_needs_no_double_precision(importance, no_double_precision):
    network = trained(Residual())
    order_channels(network, find_groups(network, INPUT), importance, [(images(), torch.arange(4))])


@pytest.mark.parametrize(
    ("importance", "layer", "axis"),
    [("producers", "inner.0", 0), ("consumers", "outer.0", 1), ("norm", "inner.1", 0)],
)
def test_the_largest_weights_are_the_most_important(importance, layer, axis):
    network = trained(Residual())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(1.0)
    network.get_submodule(layer).weight.data.index_fill_(axis, torch.tensor([7, 20]), 9.0)
    order = order_channels(network, find_groups(network, INPUT), importance)
    assert set(order["inner.0"][0][:2].tolist()) == {7, 20}


def test_taylor_is_the_effect_of_setting_weights_to_zero_to_first_order():
    network = trained(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))
    inputs, labels = torch.randn(8, 4), torch.arange(8) % 3
    small = 1e-4

    def loss(channel):
        changed = {name: t.clone() for name, t in network.state_dict().items()}
        for name in ("0.weight", "0.bias"):
            changed[name][channel] *= 1 - small
        outputs = torch.func.functional_call(network.double(), changed, inputs.double())
        return functional.cross_entropy(outputs, labels).item()

    network.double()
    whole = functional.cross_entropy(network(inputs.double()), labels).item()
    effects = [((loss(channel) - whole) / small) ** 2 for channel in range(16)]
    groups = find_groups(network, (4,), input_dtype=torch.float64)
    order = order_channels(network, groups, "taylor", [(inputs.double(), labels)])
    assert order["0"][0].tolist() == np.argsort(effects)[::-1].tolist()


def test_what_is_missing_is_said():
    network = Shuffled()
    groups = find_groups(network, INPUT)
    with pytest.raises(OptionError, match="'taylor' needs batches"):
        order_channels(network, groups, "taylor")
    with pytest.raises(OptionError, match="unknown importance 'taylr': did you mean 'taylor'"):
        order_channels(network, groups, "taylr")


def test_statistics_are_the_means_over_batches_without_dropout():
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3, momentum=0.3), nn.BatchNorm1d(3))
    batches = [(torch.randn(20, 3), torch.zeros(20)) for _ in range(3)]
    recalibrate(network.train(), batches)
    first, second = network[1], network[2]
    means = torch.stack([inputs.mean(0) for inputs, _ in batches])
    variances = torch.stack([inputs.var(0) for inputs, _ in batches])
    torch.testing.assert_close(first.running_mean, means.mean(0))
    torch.testing.assert_close(first.running_var, variances.mean(0))
    torch.testing.assert_close(second.running_var, torch.full((3,), 20 / 19), rtol=1e-3, atol=1e-3)
    assert first.momentum == 0.3 and network.training and network[0].training
    before = first.running_mean.clone()
    recalibrate(network, [])
    assert torch.equal(first.running_mean, before)


def test_layers_in_evaluation_mode_stay_in_it():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()).train()
    network[1].eval()
    recalibrate(network, [(torch.randn(8, 3), torch.zeros(8))])
    assert network[0].training and not network[1].training


def trapped(padding=0):
    """Return a network in which 16 of 32 channels are large, random and cancel each other in pairs.

    Consumers have weights of the same L1 norm for all channels.
    """
    torch.manual_seed(0)
    signal = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=padding)
    )
    noise, weight = 10 * torch.randn(8, 3, 3, 3), signal[2].weight.data
    columns = torch.randn(8, 8, 3, 3)
    columns *= weight.abs().sum() / 16 / columns.abs().sum((0, 2, 3), keepdim=True)
    user = nn.Conv2d(32, 8, 3, padding=padding)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), user)
    network = nn.Sequential(*network, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    network[0].weight.data = torch.cat([signal[0].weight.data, noise, noise])
    network[0].bias.data = torch.cat([signal[0].bias.data, torch.zeros(16)])
    network[2].weight.data = torch.cat([weight, columns, -columns], dim=1)
    network[2].bias.data = signal[2].bias.data
    torch.testing.assert_close(network[:3](images()), signal(images()), rtol=1e-4, atol=1e-4)
    return network


@pytest.mark.parametrize("padding", [0, 1, "valid", "same"])
def test_large_channels_that_cancel_each_other_go_first_by_outputs_only(padding):
    network = trapped(padding)
    groups, batches = find_groups(network, INPUT), [(images(16), torch.arange(16) % 3)]

    def noise_removed(importance):
        order = order_channels(network, groups, importance, batches)
        return np.mean(order["0"][0][16:] >= 16)

    assert noise_removed("outputs") >= 0.9
    assert noise_removed("producers") < 0.6 and noise_removed("consumers") < 0.6


class Named(nn.Module):
    """Gives its layer the input by name."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(input=x)


def test_layers_that_are_called_by_keyword_are_followed_too():
    network = trapped()
    groups, batches = find_groups(network, INPUT), [(images(16), torch.arange(16) % 3)]
    [expected] = order_channels(network, groups, "outputs", batches)["0"]
    network[2], network[5] = Named(network[2]), Named(network[5])
    [found] = order_channels(network, find_groups(network, INPUT), "outputs", batches)["0"]
    assert found.tolist() == expected.tolist()


def test_outputs_are_rebuilt_better_than_by_random_channels():
    network, rng = trained(Residual()), np.random.default_rng(0)
    groups = find_groups(network, INPUT)
    order = order_channels(network, groups, "outputs", [(images(16), torch.zeros(16))])

    def error(kept):
        layer = copy.deepcopy(network.outer[0])
        gone = np.setdiff1d(np.arange(24), kept)
        layer.weight.data[:, gone] = 0.0
        inputs = []
        handle = network.outer[0].register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
        network(images(16))
        handle.remove()
        return (layer(inputs[0]) - network.outer[0](inputs[0])).square().mean().item()

    random = [error(rng.permutation(24)[:8]) for _ in range(20)]
    assert error(order["inner.0"][0][:8]) < min(random)


class Own(nn.Module):
    """A 1x1 convolution that is not torch's own module."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        return torch.einsum("oi,nihw->nohw", self.weight, x)


USERS = {
    "same": lambda: nn.Conv2d(16, 8, 3, padding="same"),
    "valid": lambda: nn.Conv2d(16, 8, 3, padding="valid"),
    "1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(16, 8, 3), nn.Unflatten(2, (2, 31))),
    "3d": lambda: nn.Sequential(
        nn.Unflatten(2, (8, 1)), nn.Conv3d(16, 8, (3, 1, 3)), nn.Flatten(2, 3)
    ),
    "transposed": lambda: nn.ConvTranspose2d(16, 8, 3),
    "own": Own,
}


@pytest.mark.parametrize("user", USERS)
def test_by_outputs_channels_that_are_hardly_used_go_first_whatever_uses_them(user):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), USERS[user](), nn.AdaptiveAvgPool2d(1)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3))
    [weight] = [p for p in network[2].parameters() if p.ndim > 1]
    axis = int(user != "transposed")
    weight.data.index_fill_(axis, torch.arange(8), 1e-4)
    order = order_channels(network, find_groups(network, INPUT), "outputs", [(images(16), None)])
    assert sorted(order["0"][0][:8].tolist()) == list(range(8, 16))
