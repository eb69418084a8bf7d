"""Small networks, each with one thing that couples channels or keeps them from being cut."""

import torch
from torch import nn
from torch.nn import functional

INPUT = (3, 8, 8)


def conv(into, out, kernel=1, **options):
    return nn.Conv2d(into, out, kernel, padding=kernel // 2, **options)


class Head(nn.Sequential):
    def __init__(self, channels):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


class Residual(nn.Module):
    """A stream of 16 channels and an inner width of 24, with a squeeze-and-excitation gate."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Sequential(conv(16, 24), nn.BatchNorm2d(24), nn.ReLU())
        self.depthwise = nn.Sequential(conv(24, 24, 3, groups=24), nn.BatchNorm2d(24))
        self.squeeze, self.excite = conv(24, 8), conv(8, 24)
        self.outer = nn.Sequential(conv(24, 16), nn.BatchNorm2d(16))
        self.head = Head(16)

    def forward(self, x):
        x = self.stem(x)
        y = self.depthwise(self.inner(x))
        gate = self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        return self.head(x + self.outer(y * gate.sigmoid()))


class Concat(nn.Module):
    """Two branches of 16 and 24 channels behind each other, then flattened."""

    def __init__(self):
        super().__init__()
        self.left, self.right = conv(3, 16), conv(3, 24, 3)
        self.norm = nn.BatchNorm2d(40)
        self.last = conv(40, 16)
        self.head = nn.Linear(16 * 8 * 8, 5)

    def forward(self, x):
        x = self.norm(torch.cat([self.left(x), self.right(x)], dim=1))
        return self.head(self.last(x.relu()).flatten(1))


class Grouped(nn.Module):
    """Blocks of four channels of a grouped convolution, and blocks of two of a GroupNorm."""

    def __init__(self):
        super().__init__()
        self.first, self.blocks = conv(3, 32), conv(32, 32, 3, groups=8)
        self.second, self.norm = conv(32, 32), nn.GroupNorm(16, 32)
        self.head = Head(32)

    def forward(self, x):
        return self.head(self.norm(self.second(self.blocks(self.first(x)).relu())).relu())


class Attention(nn.Module):
    """Tokens of 16 channels, attention with two heads, and a feed-forward width of 32."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 4, 16))
        self.norm, self.attend = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm2, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


class Between(nn.Module):
    """A function between two layers of 16 channels."""

    def __init__(self, function, channels=16):
        super().__init__()
        self.function = function
        self.first, self.second = conv(3, 16), conv(channels, 16)
        self.head = Head(16)

    def forward(self, x):
        return self.head(self.second(self.function(self.first(x))))


class Shuffled(nn.Module):
    """Half of a stream passes, the other half is computed, and both are interleaved."""

    def __init__(self, blocks=3):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(32, 32), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(blocks)
        )
        self.head = Head(64)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            one, other = x.chunk(2, dim=1)
            x = torch.cat([one, block(other)], dim=1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x)


class Auxiliary(nn.Module):
    """A second head that only runs in training."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(3, 16), conv(16, 16)
        self.side, self.head = Head(16), Head(16)

    def forward(self, x):
        x = self.first(x).relu()
        y = self.head(self.second(x).relu())
        return (y, self.side(x)) if self.training else y


class Tied(nn.Module):
    """One convolution that runs twice, and a linear layer that uses its weight a third time."""

    def __init__(self):
        super().__init__()
        self.stem, self.twice = conv(3, 16), conv(16, 16)
        self.again = nn.Linear(16, 16)
        self.again.weight = nn.Parameter(self.twice.weight.detach().flatten(1))
        self.alias = self.twice
        self.head = Head(16)

    def forward(self, x):
        return self.head(self.alias(self.twice(self.stem(x).relu()).relu()))


class OwnTensors(nn.Module):
    """Parameters and buffers of the network's own, and a layer of which only the weight is used."""

    def __init__(self):
        super().__init__()
        self.stem, self.borrowed = conv(3, 16, 3), nn.Linear(16, 16)
        rates = [rate.item() for rate in torch.linspace(0.1, 0.2, 2)]
        self.scale = nn.Parameter(torch.full((16,), rates[0]))
        self.register_buffer("offset", torch.arange(16.0).view(1, 16, 1, 1))
        self.kernels = nn.ParameterList([nn.Parameter(torch.rand(16, 16, 1, 1)) for _ in rates])
        self.head = Head(16)

    def forward(self, x):
        x = self.stem(x) * self.scale.view(1, -1, 1, 1) + self.offset
        for kernel in self.kernels:
            x = functional.conv2d(x, kernel).relu()
        return self.head(functional.conv2d(x, self.borrowed.weight[:, :, None, None]))


ALL = [Residual, Concat, Grouped, Attention, Shuffled, Auxiliary, Tied, OwnTensors]


def trained(network, seed=0):
    """Return a network in evaluation mode whose weights and statistics are all different."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if "running_var" in name else (noise - 0.5) / 2)
    return network.eval()


def images(count=4, shape=INPUT, seed=1):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
