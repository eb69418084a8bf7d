import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpnas import SearchSpace, count_costs, count_network, create_space
from ddpnas.errors import SpaceError
from ddpnas.space.layers import NoConnection


def measured(space, architecture):
    """Return (MACs, parameters) of the built network itself, for one input."""
    with torch.device("meta"):
        built = space.build(architecture).eval()
        with FlopCounterMode(display=False) as counter:
            built(torch.empty(1, *space.input_shape))
    return counter.get_total_flops() // 2, sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 15, 9)])
def test_the_sum_over_choices_is_what_the_built_network_costs(shape):
    space = create_space("nasbench201", channels=4, cells_per_stage=2, input_shape=shape)
    costs = count_costs(space)
    rng = np.random.default_rng(0)
    for _ in range(4):
        architecture = space.sample(rng)
        assert measured(space, architecture) == (
            costs["macs"].cost(architecture),
            costs["params"].cost(architecture),
        )


def test_choices_within_choices_and_shared_decisions_are_counted_where_they_stand(nested_space):
    costs = count_costs(nested_space)
    for depth in "12":
        for kernel in "13":
            architecture = {"depth": depth, "kernel": kernel}
            assert measured(nested_space, architecture) == (
                costs["macs"].cost(architecture),
                costs["params"].cost(architecture),
            )


def counted_whole(space, architecture):
    with torch.device("meta"):
        return count_network(space.build(architecture), space.input_shape, weights="int8")


def test_cells_that_lack_inputs_cost_what_the_table_says():
    space = create_space("darts", channels=4, cells=3, input_shape=(3, 8, 8))
    costs = count_costs(space, weights="int8")
    rng = np.random.default_rng(0)
    for _ in range(2):
        architecture = space.sample(rng)
        counted = counted_whole(space, architecture)
        assert all(t.cost(architecture) == counted[n] for n, t in costs.items())
    space = create_space("nasbench201", channels=2, cells_per_stage=1)
    costs = count_costs(space, weights="int8")
    for operation in ("none", "skip_connect"):  # zeros and aliases of the input, no memory
        architecture = {d.name: operation for d in space.decisions}
        counted = counted_whole(space, architecture)
        assert all(t.cost(architecture) == counted[n] for n, t in costs.items())


class AfterSomething(nn.Module):
    """A convolution of what a choice gives, left out when it gives nothing."""

    def __init__(self, choose):
        super().__init__()
        self.edge = choose("edge", {"none": NoConnection, "skip": nn.Identity})
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        edge = self.edge(x)
        return (x if edge is None else self.conv(edge)).mean((2, 3))


def test_a_network_that_does_less_without_an_option_is_refused():
    space = SearchSpace(AfterSomething, (3, 5, 5))
    with pytest.raises(SpaceError, match=r"not a sum over its choices.*returns None \(edge\)"):
        count_costs(space)


def test_units_and_provenance_are_stated():
    costs = count_costs(create_space("nasbench201", channels=2, cells_per_stage=1))
    assert {name: table.unit for name, table in costs.items()} == {
        "macs": "MACs",
        "params": "parameters",
        "size_bytes": "bytes",
        "activation_bytes": "bytes",
    }
    assert costs["macs"].about["options"]["channels"] == 2
