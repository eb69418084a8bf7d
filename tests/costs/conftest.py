"""A small space with choices inside choices, asked in several places."""

import pytest
from torch import nn

from ddpnas import SearchSpace


def network(choose):
    """Return two blocks of a depth, each layer of which has a kernel."""

    def conv(kernel):
        return lambda: nn.Conv2d(3, 3, kernel, padding=kernel // 2)

    kernels = {"1": conv(1), "3": conv(3)}

    def deep():
        return nn.Sequential(choose("kernel", kernels), nn.ReLU(), choose("kernel", kernels))

    return nn.Sequential(
        choose("depth", {"2": deep, "1": lambda: choose("kernel", kernels)}),
        choose("depth", {"2": deep, "1": nn.Identity}),
        nn.Flatten(),
        nn.Linear(3 * 25, 4),
    )


@pytest.fixture
def nested_space():
    return SearchSpace(network, (3, 5, 5))
