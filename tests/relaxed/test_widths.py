"""Widths that are mixed: masks, what they equal, and what cannot be mixed."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import SpaceError
from ddpnas.relaxed import Draw, MixedChoices, MixedWidths, MixtureEvaluator
from ddpnas.relaxed.widths import check_mixed_widths
from ddpnas.space.layers import SqueezeExcite


class Network(nn.Module):
    """A residual stream, an expansion of it, and a concatenation, all of open width."""

    def __init__(self, choose, last=nn.Identity):
        super().__init__()
        stream = choose.width("stream", (2, 3, 5))
        hidden = stream * choose.width("expansion", (1, 2))
        self.stem = nn.Sequential(nn.Conv2d(1, stream, 3, stride=2), nn.BatchNorm2d(stream))
        nn.init.ones_(self.stem[1].bias)  # a channel that is not there would show
        depthwise = {
            str(k): lambda k=k: nn.Conv2d(hidden, hidden, k, padding=k // 2, groups=hidden)
            for k in (3, 5)
        }
        self.block = nn.Sequential(
            nn.Conv2d(stream, hidden, 1),
            nn.PReLU(hidden),
            choose("kernel", depthwise),
            SqueezeExcite(hidden, hidden.map(lambda n: max(1, n // 2)), nn.ReLU, nn.Sigmoid),
            nn.Conv2d(hidden, stream, 1),
            nn.BatchNorm2d(stream),
        )
        self.last = last()
        self.head = nn.Linear(stream, 3)

    def forward(self, x):
        x = self.stem(x)
        x = self.last(x + self.block(x))
        return self.head(x.mean(dim=(2, 3)))


def one_hot(space, architecture):
    return {
        d.name: torch.eye(len(d.options))[d.index(architecture[d.name])] for d in space.decisions
    }


def run_mixed(space, supernet, weights, x):
    draws = {d.name: Draw(weights[d.name], tuple(range(len(d.options)))) for d in space.decisions}
    with MixedChoices(supernet)(draws), MixedWidths(supernet, space.decisions)(weights):
        return supernet(x)


def test_one_hot_widths_equal_the_path():
    space = ddpnas.SearchSpace(Network, (1, 9, 9))
    supernet, x = space.supernet(seed=0).train(), torch.randn(6, 1, 9, 9)
    for indices in np.ndindex(3, 2, 2):
        architecture = space.decode(indices)
        found = run_mixed(space, supernet, one_hot(space, architecture), x)
        supernet.set_path(architecture)
        torch.testing.assert_close(found, supernet(x), rtol=1e-4, atol=1e-5)


def test_the_mask_is_the_weighted_sum_of_prefixes_and_passes_gradients():
    def network(choose):
        width = choose.width("hidden", (1, 2, 4))
        return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))

    space = ddpnas.SearchSpace(network, (3,))
    supernet, x = space.supernet(seed=0), torch.randn(5, 3)
    weights = torch.tensor([0.5, 0.3, 0.2], requires_grad=True)
    first, last = supernet.network
    supernet.slices.unset()
    mask = torch.tensor([1.0, 0.5, 0.2, 0.2])
    expected = last(first(x) * mask)
    found = run_mixed(space, supernet, {"hidden": weights}, x)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert (weights.grad != 0).all()
    supernet.set_path({"hidden": "2"})
    torch.testing.assert_close(supernet(x).shape, torch.Size([5, 2]))
    assert first.weight.shape == (2, 3), "a path is narrow again"


def test_what_cannot_be_mixed_is_refused(stripes):
    def normalized(choose):
        width = choose.width("hidden", (4, 8))
        layers = [nn.Linear(64, width), nn.LayerNorm(width), nn.Linear(width, 3)]
        return nn.Sequential(nn.Flatten(), *layers)

    space = ddpnas.SearchSpace(normalized, (1, 8, 8))
    with pytest.raises(SpaceError, match=r"layer '2', a LayerNorm, has an open width"):
        ddpnas.search(space, stripes, "snas", device="cpu")

    class Softmax(nn.Module):
        def forward(self, x):
            return x.softmax(dim=1)

    space = ddpnas.SearchSpace(Network, (1, 9, 9), last=Softmax, name="soft")
    with pytest.raises(SpaceError, match="space 'soft' computes with channels that a narrower"):
        check_mixed_widths(space.supernet(seed=0), space, torch.randn(4, 1, 9, 9))
    space = ddpnas.SearchSpace(Network, (1, 9, 9))
    check_mixed_widths(space.supernet(seed=0), space, torch.randn(4, 1, 9, 9))


@pytest.mark.parametrize("name", ["darts", "gdas"])
def test_a_mixture_of_widths_learns(stripes, name):
    space = ddpnas.SearchSpace(Network, (1, 8, 8))
    options = {"epochs": 3, "batch_size": 16, "alpha_lr": 0.05, "lr": 0.1}
    result = ddpnas.search(space, stripes, name, strategy_options=options, device="cpu")
    theta = result.distribution.theta
    assert all(abs(row - 1 / len(row)).max() > 0.01 for row in theta.values()), theta
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    costs = ddpnas.count_costs(space)
    ddpnas.generate(result.distribution, space, {"params": "500"}, costs)


@pytest.mark.slow
def test_the_space_edge_is_mixed(stripes):
    space = ddpnas.create_space("edge", input_shape=(1, 8, 8), num_classes=3, limits={"macs": "1M"})
    strategy = ddpnas.create_strategy("gdas", space, epochs=1, batch_size=48)
    [found] = MixtureEvaluator(space, stripes, strategy, device="cpu").evaluate(strategy.ask())
    assert np.isfinite(found.details["loss"])
