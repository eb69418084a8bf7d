"""Search a small transformer encoder for sequences of tokens, made up here.

    python examples/text_transformer.py

Every block chooses how positions are mixed (attention with 1, 2 or 4 heads, a convolution, or not
at all) and how wide its MLP is. Inputs are whole numbers: `input_dtype=torch.int64`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import ddpnas

TOKENS = 12


def network(choose, *, width=16, blocks=2, num_classes=2, input_shape=(20,)):
    """Return the network: `blocks` encoder blocks of `width`, their mean, a classifier."""

    def mixing():
        return {
            **{f"attention{h}": lambda h=h: Attention(width, h) for h in (1, 2, 4)},
            "convolution": lambda: Convolution(width),
            "nothing": nn.Identity,
        }

    mlps = {f"mlp{r}": lambda r=r: mlp(width, r * width) for r in (1, 2, 4)}
    return nn.Sequential(
        Embedding(width, input_shape[0]),
        *(
            nn.Sequential(
                Residual(choose(f"block{i}.mixing", mixing()), width),
                Residual(choose(f"block{i}.mlp", mlps), width),
            )
            for i in range(1, blocks + 1)
        ),
        Mean(),
        nn.Linear(width, num_classes),
    )


def mlp(width, inner):
    """Return two linear layers with `inner` features between them."""
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class Embedding(nn.Module):
    """A learned vector for each token plus one for each position."""

    def __init__(self, width, length):
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, width)
        self.positions = nn.Parameter(torch.zeros(length, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, length, width) for (N, length) whole numbers."""
        return self.tokens(tokens) + self.positions


class Attention(nn.Module):
    """Self-attention with so many heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, length, width)."""
        batch, length, width = x.shape
        parts = self.project(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Convolution(nn.Module):
    """A convolution over five neighbouring positions."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, length, width)."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    """x plus the body applied to the normalised x."""

    def __init__(self, body, width):
        super().__init__()
        self.norm, self.body = nn.LayerNorm(width), body

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, length, width)."""
        return x + self.body(self.norm(x))


class Mean(nn.Module):
    """The mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width)."""
        return x.mean(dim=1)


def sequences(n, seed=0):
    """Return (tokens, labels): whether token 1 is directly followed by token 2 somewhere."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, TOKENS, (n, 20), generator=generator)
    at = torch.randint(0, 19, (n // 2,), generator=generator)
    tokens[range(n // 2), at], tokens[range(n // 2), at + 1] = 1, 2
    return tokens, ((tokens[:, :-1] == 1) & (tokens[:, 1:] == 2)).any(dim=1).long()


def main(n=1000):
    """Search on so many sequences; print the best network within each of three limits."""
    space = ddpnas.SearchSpace(network, (20,), input_dtype=torch.int64)
    options = {"batch_size": 64, "lr": 0.1}
    result = ddpnas.search(space, sequences(n), evaluator_options=options, device="cpu")
    costs = ddpnas.count_costs(space)
    for limit in (60_000, 90_000, 120_000):
        found = ddpnas.generate(result.distribution, space, {"macs": limit}, costs)
        print(f"at most {limit} MACs: {space.format(found.architecture)}", found.costs)
    return space, result


if __name__ == "__main__":
    main()
