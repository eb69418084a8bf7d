"""Search a network for a table: 16 columns, 3 classes, made up here.

    python examples/tabular_mlp.py

The space is the function `network`: a residual MLP each block of which is a plain layer, a gated
one, one with a bottleneck whose width is a choice of its own, or nothing. The command line
searches on images only; tables and tokens are given from Python, as here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ddpnas


def network(choose, *, width=32, blocks=3, num_classes=3, input_shape=(16,)):
    """Return the network: `blocks` residual blocks of `width` between two linear layers."""

    def bottleneck():
        return choose("bottleneck", {f"{n}": lambda n=n: mlp(width, n) for n in (4, 8, 16)})

    options = {
        "plain": lambda: mlp(width, width),
        "gated": lambda: Gated(width),
        "bottleneck": bottleneck,  # a choice in a choice: it counts only where it is asked
        "nothing": nn.Identity,
    }
    return nn.Sequential(
        nn.Linear(input_shape[0], width),
        *(Residual(choose(f"block{i}", options), width) for i in range(1, blocks + 1)),
        nn.LayerNorm(width),
        nn.Linear(width, num_classes),
    )


def mlp(width, inner):
    """Return two linear layers with `inner` features between them."""
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))


class Gated(nn.Module):
    """A linear layer times a gate in [0, 1] computed by another."""

    def __init__(self, width):
        super().__init__()
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width)."""
        return self.value(x) * torch.sigmoid(self.gate(x))


class Residual(nn.Module):
    """x plus the body applied to the normalised x."""

    def __init__(self, body, width):
        super().__init__()
        self.norm, self.body = nn.LayerNorm(width), body

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width)."""
        return x + self.body(self.norm(x))


def table(n, seed=0):
    """Return (rows, labels): the class is a product of two columns, which no line separates."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, 16, generator=generator)
    product = rows[:, 0] * rows[:, 1]
    return rows, (product > -0.3).long() + (product > 0.3).long()


def main(rows=3000):
    """Search on so many rows; print the best network within each of three limits."""
    space = ddpnas.SearchSpace(network, (16,))
    options = {"batch_size": 64, "lr": 0.05}
    result = ddpnas.search(space, table(rows), evaluator_options=options, device="cpu")
    costs = ddpnas.count_costs(space)
    for limit in (4000, 6000, 8000):
        found = ddpnas.generate(result.distribution, space, {"params": limit}, costs)
        print(f"at most {limit} parameters: {space.format(found.architecture)}", found.costs)
    return space, result


if __name__ == "__main__":
    main()
