"""What each width costs in loss, measured alone, and what is generated from it."""

import copy
import math

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import DivergedError
from ddpnas.shrinking import cut_channels, measure_sensitivity, recalibrate
from ddpnas.shrinking.sensitivity import Sensitivity, batches_of, mean_loss
from ddpnas.space import Decision, DecisionSpace

from .networks import conv


class Planted(nn.Module):
    """Two groups of 32 channels; of the first, only the last eight matter."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = conv(1, 32, 3), nn.BatchNorm2d(32)
        self.second = conv(32, 32, 3)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x)).relu()).relu())


@pytest.fixture(scope="module")
def planted(stripes):
    torch.manual_seed(0)
    network = Planted()
    ddpnas.train(network, stripes, epochs=8, device="cpu")
    with torch.no_grad():
        network.second.weight[:, :24] = 0.0
    return network.eval()


def test_channels_that_do_not_matter_cost_nothing(planted, stripes):
    space = ddpnas.shrinkable(planted, stripes.input_shape)
    found = measure_sensitivity(space, stripes)
    assert found.rises["first", "8"] < 1e-4 < found.rises["second", "8"]
    assert set(space.order["first"][0][:8].tolist()) == set(range(24, 32))


def test_rises_are_those_of_the_cut_network_and_never_fall_with_fewer_channels(planted, stripes):
    space, calls = ddpnas.shrinkable(planted, stripes.input_shape), []
    found = measure_sensitivity(space, stripes, on_width=lambda *call: calls.append(call))
    assert len(calls) == 1 + 6 and set(found.rises) == {
        (decision.name, option) for decision in space.decisions for option in decision.options
    }
    for decision in space.decisions:
        rises = [found.rises[decision.name, option] for option in decision.options]
        assert rises == sorted(rises, reverse=True) and rises[-1] == 0.0
    device = torch.device("cpu")
    batches = batches_of(stripes, stripes.train, 500, 0, device)
    validation = batches_of(stripes, stripes.valid, 500, 0, device)
    cut = cut_channels(planted, space.groups, {"second": 24}, space.order)
    whole = copy.deepcopy(planted)
    for network in (cut, whole):
        recalibrate(network, batches)
    rise = max(0.0, mean_loss(cut, validation) - mean_loss(whole, validation))
    assert found.loss == pytest.approx(mean_loss(whole, validation))
    assert found.rises["second", "24"] == pytest.approx(rise)


def test_a_width_without_a_loss_costs_more_than_all_others_together():
    options = ("8", "16", "24")
    space = DecisionSpace([Decision(name, options) for name in ("a", "b", "c")])
    losses = {(name, width): 2.0 for name in ("a", "b", "c") for width in options[:-1]}
    losses["a", "16"], losses["b", "8"] = math.nan, math.inf
    rises = Sensitivity.of_losses(space, 0.5, losses).rises
    assert rises["c", "8"] == 1.5 == rises["b", "16"]
    others = sum(rises[name, "8"] for name in ("c",)) + rises["b", "16"]
    assert min(rises["a", "8"], rises["a", "16"], rises["b", "8"]) > others
    with pytest.raises(DivergedError, match="the loss of the given network is nan"):
        Sensitivity.of_losses(space, math.nan, losses)


def test_generation_cuts_what_costs_least(planted, stripes):
    space = ddpnas.shrinkable(planted, stripes.input_shape)
    found, costs = measure_sensitivity(space, stripes), ddpnas.count_costs(space)
    full = costs["macs"].cost({"first": "32", "second": "32"})
    uniform = ddpnas.JointDistribution.uniform(space.decisions)
    generated = ddpnas.generate(
        uniform, space, {"macs": 0.3 * full}, costs, objective=found.objective
    )
    assert generated.costs["macs"] <= 0.3 * full
    assert generated.certificate.objective == pytest.approx(0.0, abs=1e-4)
    line = ddpnas.frontier(uniform, space, "macs", costs=costs, objective=found.objective)
    assert len(line) > 1
