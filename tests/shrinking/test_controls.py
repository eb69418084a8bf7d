"""Widths to compare a search with: they use up the limits."""

import pytest
import torch
import torchvision

import ddpnas
from ddpnas.errors import InfeasibleError
from ddpnas.shrinking import magnitude_widths, uniform_widths

from .networks import conv


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    head = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 3)
    network = torch.nn.Sequential(conv(1, 32, 3), torch.nn.ReLU(), conv(32, 32, 3), *head)
    space = ddpnas.shrinkable(network, (1, 8, 8))
    return space, ddpnas.count_costs(space)


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(0)
    space = ddpnas.shrinkable(torchvision.models.resnet18(num_classes=10), (3, 32, 32))
    return space, ddpnas.count_costs(space)


def test_uniform_widths_are_the_largest_equal_share(small):
    space, costs = small
    macs = {n: costs["macs"].cost({"0": str(n), "2": str(n)}) for n in (8, 16, 24, 32)}
    for width, cost in macs.items():
        widths = dict(uniform_widths(space, {"macs": cost}, costs))
        assert widths == {"0": str(width), "2": str(width)}
    wider = {"0": "24", "2": "16"}
    assert dict(uniform_widths(space, {"macs": costs["macs"].cost(wider)}, costs)) == wider
    with pytest.raises(InfeasibleError, match=f"lowest possible is {macs[8]:,.0f}"):
        uniform_widths(space, {"macs": macs[8] - 1}, costs)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("control", [uniform_widths, magnitude_widths])
def test_controls_use_up_the_limit_and_no_group_can_be_wider(resnet18, control, share):
    space, costs = resnet18
    most = share * costs["macs"].cost({d.name: d.options[-1] for d in space.decisions})
    widths = control(space, {"macs": most}, costs)
    assert 0.9 * most <= costs["macs"].cost(widths) <= most
    for decision in space.decisions:
        place = decision.options.index(widths[decision.name])
        for wider in decision.options[place + 1 :]:
            assert costs["macs"].cost({**widths, decision.name: wider}) > most


@pytest.mark.parametrize("control", [uniform_widths, magnitude_widths])
def test_controls_keep_the_margin_of_a_measured_cost(small, control):
    space, counted = small
    terms = {((d.name, option),): float(option) for d in space.decisions for option in d.options}
    about = {"check": {"p95_percent": 5.0}}
    costs = {**counted, "latency_ms": ddpnas.CostTable("latency_ms", "ms", 0.0, terms, about)}
    for most in (24, 32, 40):  # each is the cost of some widths
        cost = costs["latency_ms"].cost(control(space, {"latency_ms": most}, costs))
        assert most - 8 <= cost <= 0.95 * most


def test_one_threshold_on_the_weights_that_use_channels_cuts_groups_of_many_small_ones():
    torch.manual_seed(0)
    layers = [conv(1, 32, 3), conv(32, 32, 3), conv(32, 32, 3), conv(32, 3)]
    for number, large in ((1, 8), (2, 24), (3, 32)):
        weight = layers[number].weight.data.fill_(1e-3)
        weight[:, torch.randperm(32)[:large]] = 1.0
    network = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    space = ddpnas.shrinkable(network, (1, 8, 8))
    costs = ddpnas.count_costs(space)
    expected = {"0": "8", "1": "24", "2": "32"}
    limits = {"macs": costs["macs"].cost(expected)}
    assert dict(magnitude_widths(space, limits, costs)) == expected
    lowest = costs["macs"].cost(dict.fromkeys(expected, "8"))
    with pytest.raises(InfeasibleError, match=f"lowest possible is {lowest:,.0f}"):
        magnitude_widths(space, {"macs": lowest - 1}, costs)
