"""ElasticKernelConv2d: a depthwise convolution whose kernel size is undecided, with one weight.

Notation.  W_n  (C, 1, n, n)  kernels of size n, the largest of which is stored
           T_n  (n^2, n^2)    transform, the identity at first, the same for all channels

    W_n = T_n (center n x n of W_m)        m the next larger size

This is Once-for-All's way to share kernels (Cai et al., ICLR 2020, arXiv 1908.09791).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ElasticKernelConv2d"]


class ElasticKernelConv2d(nn.Module):
    """A depthwise convolution of a supernet, with "same" padding and without bias.

    A built network has a plain ``nn.Conv2d`` in its place, whose weight this gives.

    Args:
        channels: Channels C of input and output, (N, C, H, W); a width or a number.
        kernel: The size of the kernel; a width whose values are ``sizes``, or a number of them.
        sizes: Odd sizes of the kernel, in increasing order.
        stride: Stride.

    Example:
        >>> conv = ElasticKernelConv2d(channels=4, kernel=3, sizes=(3, 5, 7))
        >>> conv.weight.shape, conv(torch.zeros(1, 4, 8, 8)).shape
        (torch.Size([4, 1, 7, 7]), torch.Size([1, 4, 8, 8]))
        >>> torch.equal(conv.kernels(3), conv.weight[:, :, 2:5, 2:5])
        True
    """

    def __init__(self, channels: int, kernel: int, sizes: Sequence[int], stride: int = 1) -> None:
        super().__init__()
        self.channels, self.kernel, self.stride = channels, kernel, stride
        self.sizes = tuple(sizes)
        largest = nn.Conv2d(int(channels), int(channels), self.sizes[-1], groups=int(channels))
        self.weight = nn.Parameter(largest.weight.detach())
        for size in self.sizes[:-1]:
            self.register_parameter(f"transform{size}", nn.Parameter(torch.eye(size**2)))

    def slice_to(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor at the present number of channels."""
        largest = self.sizes[-1]
        transforms = {f"transform{size}": (size**2, size**2) for size in self.sizes[:-1]}
        return {"weight": (self.channels, 1, largest, largest), **transforms}

    def built_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the layer that a built network has in place of this one.

        Args:
            tensors: Tensors of this layer at the present widths.
        """
        return {"weight": self._transformed(tensors, self.kernel)}

    def kernels(self, size: int) -> Tensor:
        """Return the kernels of a size, (C, 1, size, size)."""
        names = ("weight", *(f"transform{n}" for n in self.sizes[:-1]))
        return self._transformed({name: getattr(self, name) for name in names}, size)

    def _transformed(self, tensors: Mapping[str, Tensor], size: int) -> Tensor:
        weight = tensors["weight"]
        for larger, smaller in itertools.pairwise(reversed(self.sizes)):
            if smaller < size:
                break
            edge = (larger - smaller) // 2
            inner = weight[:, :, edge : larger - edge, edge : larger - edge].flatten(2)
            inner = inner @ tensors[f"transform{smaller}"].T
            weight = inner.reshape(-1, 1, smaller, smaller)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, ceil(H / stride), ceil(W / stride))."""
        size = int(self.kernel)
        weight = self.kernels(size)
        return functional.conv2d(
            x, weight, stride=self.stride, padding=size // 2, groups=len(weight)
        )
