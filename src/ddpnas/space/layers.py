"""Layers that the published spaces share and that your spaces may use.

They know nothing of the search: a built network holds only these and torch's own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "FactorizedReduce",
    "InvertedResidual",
    "NoConnection",
    "SqueezeExcite",
    "add",
    "batch_norm",
    "conv_bn",
    "drop_path",
]


class NoConnection(nn.Module):
    """The option "no connection": returns None for any input, at no cost.

    Sum such outputs with :func:`add`, which leaves None out.

    Example:
        >>> x = torch.ones(1, 2)
        >>> add([NoConnection()(x), x], like=x)
        tensor([[1., 1.]])
    """

    def forward(self, *inputs: Tensor) -> None:
        """Return None."""
        return


def add(outputs: Iterable[Tensor | None], like: Tensor) -> Tensor:
    """Return the sum of all outputs that are not None.

    Args:
        outputs: Tensors of one shape, or None for what is not connected.
        like: Tensor whose shape the zeros have that are returned if all outputs are None.
    """
    total: Tensor | None = None
    for output in outputs:
        if output is not None:
            total = output if total is None else total + output
    return torch.zeros_like(like) if total is None else total


def batch_norm(channels: int, *, searching: bool, option: bool = False) -> nn.BatchNorm2d:
    """Return BatchNorm for a network or, while ``searching``, for a supernet.

    In a supernet every path has its own statistics, and a running average over paths would fit
    none of them. So the layer uses the statistics of the batch, in evaluation too. Inside an
    option it also has no affine terms, as is usual for weight sharing.

    Args:
        channels: Channels C of the input, (N, C, H, W).
        searching: Whether the layer is part of a supernet; ``choose.searching``.
        option: Whether it stands inside an option.

    Example:
        >>> batch_norm(8, searching=True, option=True).running_mean is None
        True
    """
    return nn.BatchNorm2d(
        channels, affine=not (searching and option), track_running_stats=not searching
    )


def conv_bn(
    in_width: int,
    out_width: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
    searching: bool,
    option: bool = False,
) -> nn.Sequential:
    """Return convolution without bias ("same" padding), BatchNorm, and an activation.

    Args:
        in_width: Channels of the input, (N, in_width, H, W).
        out_width: Channels of the output, (N, out_width, ceil(H / stride), ceil(W / stride)).
        kernel: Size of the kernel, odd.
        stride: Stride.
        groups: Groups of channels; ``in_width`` for a depthwise convolution.
        activation: Makes the activation; None leaves it out.
        searching: See :func:`batch_norm`.
        option: See :func:`batch_norm`.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_width, out_width, kernel, stride, kernel // 2, groups=groups, bias=False),
        batch_norm(out_width, searching=searching, option=option),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: scales each channel by a gate in [0, 1] computed from all means.

    Args:
        width: Channels C of input and output, (N, C, H, W).
        squeezed: Channels between the two 1x1 convolutions.
        activation: Makes the activation between them.
        gate: Makes the function that turns the output of the second into a gate.
    """

    def __init__(
        self,
        width: int,
        squeezed: int,
        activation: Callable[[], nn.Module],
        gate: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, squeezed, 1),
            activation(),
            nn.Conv2d(squeezed, width, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x times its gate, of the same shape."""
        gate: Tensor = self.gate(x)
        return x * gate


class InvertedResidual(nn.Module):
    """MobileNet block: 1x1 expansion, depthwise convolution, 1x1 projection without activation.

    With expansion 1 the first convolution is left out. Input and output are added where their
    shapes agree.

    Args:
        in_width: Channels of the input, (N, in_width, H, W).
        out_width: Channels of the output.
        kernel: Kernel of the depthwise convolution.
        expansion: Width of the depthwise convolution, in input widths.
        stride: Stride of the depthwise convolution.
        activation: Makes the activation after the first two convolutions.
        excite: Makes squeeze-and-excitation of a width, after the depthwise convolution.
        searching: See :func:`batch_norm`.
        option: See :func:`batch_norm`.

    Source: Sandler et al., MobileNetV2, CVPR 2018, arXiv 1801.04381.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        *,
        kernel: int,
        expansion: int,
        stride: int = 1,
        activation: Callable[[], nn.Module] = nn.ReLU6,
        excite: Callable[[int], nn.Module] | None = None,
        searching: bool,
        option: bool = False,
    ) -> None:
        super().__init__()

        def conv(
            a: int, b: int, k: int, s: int, groups: int, act: Callable[[], nn.Module] | None
        ) -> nn.Module:
            return conv_bn(
                a, b, k, stride=s, groups=groups, activation=act, searching=searching, option=option
            )

        middle = in_width * expansion
        layers = [conv(in_width, middle, 1, 1, 1, activation)] if expansion > 1 else []
        layers.append(conv(middle, middle, kernel, stride, middle, activation))
        if excite is not None:
            layers.append(excite(middle))
        layers.append(conv(middle, out_width, 1, 1, 1, None))
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and in_width == out_width

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_width, ceil(H / stride), ceil(W / stride))."""
        body: Tensor = self.body(x)
        return x + body if self.residual else body


class FactorizedReduce(nn.Module):
    """ReLU, then half size by two 1x1 convolutions of stride 2, one shifted by a pixel; BatchNorm.

    Odd sides are padded, which changes nothing for even ones.

    Args:
        in_width: Channels of the input, (N, in_width, H, W).
        out_width: Channels of the output, (N, out_width, ceil(H / 2), ceil(W / 2)).
        searching: See :func:`batch_norm`.
        option: See :func:`batch_norm`.
    """

    def __init__(
        self, in_width: int, out_width: int, *, searching: bool, option: bool = False
    ) -> None:
        super().__init__()
        self.even = nn.Conv2d(in_width, out_width // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_width, out_width - out_width // 2, 1, stride=2, bias=False)
        self.norm = batch_norm(out_width, searching=searching, option=option)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_width, ceil(H / 2), ceil(W / 2))."""
        x = functional.relu(x)
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        result: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return result


def drop_path(rate: float) -> nn.Module:
    """Return timm's DropPath: while training, whole samples become zeros with that probability.

    The other samples are multiplied by 1 / (1 - rate), which keeps the expectation.

    Args:
        rate: Probability, from 0 to below 1.
    """
    from timm.layers import DropPath  # slow to import, and few networks have it

    module: nn.Module = DropPath(rate)
    return module
