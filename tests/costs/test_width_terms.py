"""Costs of spaces of widths: what tables add up is what built networks cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.width_solver import Dense, resnet50
from ddpnas.costs import count_costs, count_network
from ddpnas.errors import SpaceError
from ddpnas.space import SearchSpace
from ddpnas.testing import SpaceContract
from tests.space.test_widths import Zoo


class TestZoo(SpaceContract):
    def make_space(self):
        return SearchSpace(Zoo, (3, 4, 4))


class TestDense(SpaceContract):
    def make_space(self):
        return SearchSpace(Dense, (3, 8, 8), depth=4, count=3)


@pytest.mark.parametrize("weights", [pytest.param("float32", marks=pytest.mark.slow), "int8"])
def test_costs_of_all_networks_are_exact(weights):
    """Every known layer, attention, concatenation, groups and a nested width, to the unit."""
    space = SearchSpace(Zoo, (3, 4, 4))
    costs = count_costs(space, weights=weights)
    for indices in itertools.product(*(range(len(d.options)) for d in space.decisions)):
        architecture = space.decode(indices)
        counted = count_network(space.build(architecture), (3, 4, 4), weights=weights)
        assert {n: t.cost(architecture) for n, t in costs.items()} == {n: counted[n] for n in costs}


@pytest.mark.slow
def test_resnet50_is_counted_as_torch_counts_it():
    """Random widths of ResNet-50: multiply-adds and parameters as torch counts them itself."""
    space = SearchSpace(resnet50, (3, 224, 224), count=8)
    costs = count_costs(space)
    assert len(costs["macs"].terms) == 3344
    rng = np.random.default_rng(0)
    largest = space.decode([len(d.options) - 1 for d in space.decisions])
    for architecture in [largest, *(space.sample(rng) for _ in range(20))]:
        with torch.device("meta"):
            network = space.build(architecture).eval()
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 3, 224, 224))
        assert costs["macs"].cost(architecture) == counter.get_total_flops() // 2
        assert costs["params"].cost(architecture) == sum(p.numel() for p in network.parameters())
    assert costs["macs"].cost(largest) == 4_089_184_256  # the published network
    assert costs["params"].cost(largest) == 25_557_032


class Outer(nn.Module):
    """Its cost is a sum of squares, which no product of its widths is."""

    def __init__(self, choose):
        super().__init__()
        self.a = nn.Linear(4, choose.width("a", (2, 3, 5)))
        self.b = nn.Linear(4, choose.width("b", (2, 4)))

    def forward(self, x):
        both = torch.cat([self.a(x), self.b(x)], dim=1)
        return (both.T @ both).sum()[None, None]


def test_a_cost_that_widths_do_not_explain_is_refused():
    """An operation whose size no module holds as a width is named."""
    with pytest.raises(SpaceError, match="cost of mm in the network cannot be told"):
        count_costs(SearchSpace(Outer, (4,)))
