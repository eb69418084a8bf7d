import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpnas import SearchSpace, count_costs, create_space


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
    for _ in range(10):
        architecture = space.sample(rng)
        assert measured(space, architecture) == (
            costs["macs"].cost(architecture),
            costs["params"].cost(architecture),
        )


def test_choices_within_choices_and_shared_decisions_are_counted_where_they_stand():
    def conv(kernel):
        return lambda: nn.Conv2d(3, 3, kernel, padding=kernel // 2)

    def network(choose):
        kernels = {"1": conv(1), "3": conv(3)}

        def deep():
            return nn.Sequential(choose("kernel", kernels), choose("kernel", kernels))

        return nn.Sequential(
            choose("depth", {"2": deep, "1": lambda: choose("kernel", kernels)}),
            choose("depth", {"2": deep, "1": nn.Identity}),
            nn.Flatten(),
            nn.Linear(3 * 25, 4),
        )

    space = SearchSpace(network, (3, 5, 5))
    costs = count_costs(space)
    for depth in "12":
        for kernel in "13":
            architecture = {"depth": depth, "kernel": kernel}
            assert measured(space, architecture) == (
                costs["macs"].cost(architecture),
                costs["params"].cost(architecture),
            )


def test_units_and_provenance_are_stated():
    costs = count_costs(create_space("nasbench201", channels=2, cells_per_stage=1))
    assert {name: table.unit for name, table in costs.items()} == {
        "macs": "MACs",
        "params": "parameters",
    }
    assert costs["macs"].about["options"]["channels"] == 2
