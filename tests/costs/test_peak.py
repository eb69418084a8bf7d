"""A limit on the peak memory leaves exactly the networks whose peak is within it."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas import (
    JointDistribution,
    SearchSpace,
    count_network,
    create_space,
    generate,
    shrinkable,
)
from ddpnas.costs import peak_limit
from ddpnas.errors import InfeasibleError, SpaceError


def peak(space, architecture):
    with torch.device("meta"):
        network = space.build(architecture)
    return count_network(network, space.input_shape)["peak_activation_bytes"]


@pytest.mark.parametrize("name", [pytest.param("mnasnet", marks=pytest.mark.slow), "shufflenet"])
def test_it_is_met_exactly_when_no_place_is_over_it(name):
    space = create_space(name, width=0.25, input_shape=(3, 32, 32), num_classes=2)
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(4)]
    peaks = [peak(space, architecture) for architecture in architectures]
    for limit in {sorted(peaks)[1], max(peaks) - 1}:
        table = peak_limit(space, limit)
        met = [table.cost(architecture) == 0 for architecture in architectures]
        assert met == [p <= limit for p in peaks]


def test_on_all_networks_of_a_small_space_and_in_generation():
    def wide(n):
        return lambda: nn.Sequential(nn.Conv2d(2, n, 1), nn.ReLU(), nn.Conv2d(n, 2, 1))

    def network(choose):
        options = {"skip": nn.Identity, "8": wide(8), "4": wide(4)}
        chosen = [choose(f"block{i}", options) for i in range(3)]
        return nn.Sequential(nn.Conv2d(1, 2, 1), *chosen, nn.Flatten(), nn.Linear(128, 2))

    space = SearchSpace(network, (1, 8, 8))
    every = [space.decode(i) for i in itertools.product(range(3), repeat=3)]
    peaks = {architecture: peak(space, architecture) for architecture in every}
    assert len(set(peaks.values())) == 3
    rows = tuple(np.array([0.1, 0.6, 0.3]) for _ in space.decisions)
    learned = JointDistribution.uniform(space.decisions).with_rows(rows)
    for limit, option in zip(sorted(set(peaks.values())), ("skip", "4", "8"), strict=True):
        costs = {"places_over_peak": peak_limit(space, limit)}
        found = generate(learned, space, {"places_over_peak": 0}, costs)
        assert set(found.architecture.values()) == {option}
        met = {a for a in every if costs["places_over_peak"].cost(a) == 0}
        assert met == {a for a in every if peaks[a] <= limit}
    costs = {"places_over_peak": peak_limit(space, 100)}
    with pytest.raises(InfeasibleError, match="places_over_peak"):
        generate(learned, space, {"places_over_peak": 0}, costs)


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_where_the_peak_depends_on_several_choices_it_is_refused(name):
    with pytest.raises(SpaceError, match="needs a network that is a plain chain"):
        peak_limit(create_space(name, channels=4), 1e6)


class Half(nn.Module):
    """Gives a part of a tensor, all of which stays in memory."""

    def forward(self, x):
        return torch.cat([x, x], dim=1)[:, :2]


class Backwards(nn.Sequential):
    """A chain that is none."""

    def forward(self, x):
        for module in reversed(self):
            x = module(x)
        return x


@pytest.mark.parametrize("option", [nn.Identity, Half])
def test_what_stays_in_memory_behind_a_choice_is_refused(option):
    """The next module's input is the example, or a larger tensor, or neither."""

    def network(choose):
        first = choose("first", {"option": option, "conv": lambda: nn.Conv2d(2, 2, 1)})
        return nn.Sequential(first, nn.Conv2d(2, 4, 1), nn.Flatten())

    with pytest.raises(SpaceError, match="depends on a choice"):
        peak_limit(SearchSpace(network, (2, 4, 4)), 1e6)


def chain(choose):
    width = choose.width("stem", (2, 4))
    return nn.Sequential(nn.Conv2d(2, width, 1), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "width"),
    [
        (lambda: SearchSpace(chain, (2, 4, 4)), "stem"),
        (lambda: shrinkable(nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 2)), (4,)), "0"),
    ],
)
def test_undecided_widths_are_refused(make, width):
    with pytest.raises(SpaceError, match=f"plain chain .*the width '{width}' is undecided"):
        peak_limit(make(), 1e6)


def test_a_chain_that_runs_otherwise_is_refused():
    def network(choose):
        return Backwards(nn.Flatten(), choose("x", {"a": nn.ReLU, "b": nn.Identity}))

    with pytest.raises(SpaceError, match="it is a Backwards"):
        peak_limit(SearchSpace(network, (2, 4, 4)), 1e6)
