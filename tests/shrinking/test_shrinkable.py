"""The widths of an existing network as a search space: exact costs, exact limits, its weights."""

import itertools

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ddpnas
from ddpnas.errors import InfeasibleError, SpaceError

from .networks import ALL, INPUT, Concat, Residual, Shuffled, images, trained

COSTS = ("macs", "params", "size_bytes", "activation_bytes")


def assert_exact(space, costs, architectures):
    for architecture in architectures:
        with torch.device("meta"):
            network = space.build(architecture)
        counted = ddpnas.count_network(network, space.input_shape)
        assert {name: costs[name].cost(architecture) for name in COSTS} == {
            name: counted[name] for name in COSTS
        }


@pytest.mark.parametrize("kind", ALL)
def test_costs_are_those_of_the_built_network_to_the_unit(kind):
    space, rng = ddpnas.shrinkable(kind(), INPUT), np.random.default_rng(0)
    some = [space.sample(rng) for _ in range(5)]
    assert_exact(space, ddpnas.count_costs(space), some)


def test_generation_within_limits_is_the_best_of_all_networks():
    space, rng = ddpnas.shrinkable(Concat(), INPUT, divisor=4), np.random.default_rng(0)
    costs = ddpnas.count_costs(space)
    worth = {(d.name, o): float(rng.random()) for d in space.decisions for o in d.options}
    uniform = ddpnas.JointDistribution.uniform(space.decisions)
    networks = [
        dict(zip((d.name for d in space.decisions), options, strict=True))
        for options in itertools.product(*(d.options for d in space.decisions))
    ]
    macs = sorted(costs["macs"].cost(network) for network in networks)
    for most in macs[:: len(macs) // 8]:
        limits = {"macs": most, "params": costs["params"].cost(networks[-1]) * 0.7}
        found = ddpnas.generate(uniform, space, limits, costs, objective=worth)
        value = max(
            sum(worth[pair] for pair in network.items())
            for network in networks
            if all(costs[name].cost(network) <= limit for name, limit in limits.items())
        )
        assert found.certificate.objective == pytest.approx(value)
        assert found.costs["macs"] <= most
    with pytest.raises(InfeasibleError, match=f"{macs[0]:,.0f}"):
        ddpnas.generate(uniform, space, {"macs": macs[0] - 1}, costs)


def test_built_networks_have_the_weights_of_the_network():
    network = trained(Residual())
    space = ddpnas.shrinkable(network, INPUT)
    largest = space.build({d.name: d.options[-1] for d in space.decisions})
    assert torch.equal(largest.eval()(images()), network(images()))
    smallest = space.build({d.name: d.options[0] for d in space.decisions})
    assert type(smallest) is Residual and smallest.stem[0].out_channels == 8
    assert torch.equal(smallest.stem[0].weight, network.stem[0].weight[:8])
    assert "tensor_sizes" not in vars(smallest.stem[0])


def test_the_first_channels_of_the_order_stay():
    network = trained(Residual())
    space = ddpnas.shrinkable(network, INPUT)
    space.order = {"stem.0": [np.arange(16)[::-1]]}
    built = space.build({"stem.0": "8", "inner.0": "24"})
    assert torch.equal(built.stem[0].weight, network.stem[0].weight[8:])


def test_decisions_are_the_groups_that_can_be_cut():
    space = ddpnas.shrinkable(Shuffled(), INPUT)
    assert [d.name for d in space.decisions] == [g.name for g in space.groups if g.is_open]
    assert all(d.ordered for d in space.decisions)


def test_what_cannot_be_cut_is_refused_with_the_reason():
    with pytest.raises(SpaceError, match=r"no channels of Sequential.*0: the network's output"):
        ddpnas.shrinkable(nn.Sequential(nn.Conv2d(3, 16, 1)), INPUT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_costs_of_known_networks_are_exact(name):
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    space, rng = ddpnas.shrinkable(model, (3, 64, 64)), np.random.default_rng(0)
    assert_exact(space, ddpnas.count_costs(space), [space.sample(rng) for _ in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "densenet121",
     "convnext_tiny", "regnet_y_400mf", "shufflenet_v2_x1_0", "vit_b_32"],
)  # fmt: skip
def test_costs_of_known_networks_are_those_that_torch_counts(name):
    """Multiply-adds and parameters of random widths, by a count that is not ours."""
    model = torchvision.models.get_model(name).to("meta")  # RegNet computes its widths in torch
    space, rng = ddpnas.shrinkable(model, (3, 224, 224)), np.random.default_rng(0)
    costs = ddpnas.count_costs(space)
    for architecture in (space.sample(rng) for _ in range(3)):
        with torch.device("meta"):
            network = space.build(architecture).eval()
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 3, 224, 224))
        assert costs["macs"].cost(architecture) == counter.get_total_flops() // 2
        assert costs["params"].cost(architecture) == sum(p.numel() for p in network.parameters())


def test_resnet50_has_37_widths():
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    groups = ddpnas.shrinking.find_groups(model, (3, 224, 224))
    assert sum(group.is_open for group in groups) == 37
    assert [group.fixed for group in groups if not group.free] == ["the network's output"]
