"""RepVGGBlock: three branches while it is trained, one convolution when it is deployed.

Source: Ding et al., RepVGG, CVPR 2021, arXiv 2101.03697. Convolution and BatchNorm are linear in
evaluation mode, so that a 3x3, a 1x1 and an identity branch add up to one 3x3 convolution:
structural re-parameterization.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ddpnas.errors import OptionError
from ddpnas.space.layers import batch_norm, conv_bn

__all__ = ["RepVGGBlock", "merge_branches"]


class RepVGGBlock(nn.Module):
    """ReLU of the sum of a 3x3, a 1x1 and, where shapes agree, an identity branch.

    Each branch ends in BatchNorm.

    Args:
        in_width: Channels of the input, (N, in_width, H, W).
        out_width: Channels of the output, (N, out_width, ceil(H / stride), ceil(W / stride)).
        stride: Stride.
        searching: See :func:`ddpnas.space.layers.batch_norm`.
        option: See :func:`ddpnas.space.layers.batch_norm`.

    Example:
        >>> block = RepVGGBlock(8, 8, searching=False).eval()
        >>> block.merged()
        Sequential(
          (0): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (1): ReLU()
        )
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        *,
        stride: int = 1,
        searching: bool,
        option: bool = False,
    ) -> None:
        super().__init__()
        self.dense = conv_bn(
            in_width, out_width, 3, stride=stride, searching=searching, option=option
        )
        self.point = conv_bn(
            in_width, out_width, 1, stride=stride, searching=searching, option=option
        )
        self.norm: nn.Module | None = None
        if stride == 1 and in_width == out_width:
            self.norm = batch_norm(out_width, searching=searching, option=option)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_width, ceil(H / stride), ceil(W / stride))."""
        total: Tensor = self.dense(x) + self.point(x)
        return functional.relu(total if self.norm is None else total + self.norm(x))

    def merged(self) -> nn.Sequential:
        """Return one convolution and ReLU that compute what the block does in evaluation mode.

        Raises:
            OptionError: The block is part of a supernet, whose BatchNorm has no statistics.
        """
        whole: Any = copy.deepcopy(self).eval()
        statistics = whole.dense[1].running_mean
        if statistics is None:
            raise OptionError(
                "the block is part of a supernet, whose BatchNorm keeps no statistics; "
                "build the network first: space.build(architecture)"
            )
        branches = [(whole.dense[0], whole.dense[1]), (whole.point[0], whole.point[1])]
        if whole.norm is not None:
            channels = len(statistics)
            identity = nn.Conv2d(channels, channels, 1, bias=False).to(statistics).eval()
            nn.init.dirac_(identity.weight)
            branches.append((identity, whole.norm))
        first, *others = [fuse_conv_bn_eval(*branch) for branch in branches]
        kernel, bias = first.weight.detach(), first.bias.detach()
        for fused in others:
            kernel = kernel + functional.pad(fused.weight.detach(), (1, 1, 1, 1))
            bias = bias + fused.bias.detach()
        made = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, whole.dense[0].stride, 1)
        made.weight, made.bias = nn.Parameter(kernel), nn.Parameter(bias)
        return nn.Sequential(made, nn.ReLU())


def merge_branches(network: nn.Module) -> nn.Module:
    """Return a copy of a network for deployment, in which each RepVGG block is one convolution.

    Exported files have merged blocks already.

    Args:
        network: The network; it is not changed. One without such blocks is only copied.

    Example:
        >>> blocks = RepVGGBlock(3, 8, searching=False), RepVGGBlock(8, 8, searching=False)
        >>> merged = merge_branches(nn.Sequential(*blocks))
        >>> sum(isinstance(module, nn.Conv2d) for module in merged.modules())
        2
    """
    if isinstance(network, RepVGGBlock):
        return network.merged()
    found = copy.deepcopy(network)
    for module in list(found.modules()):
        for name, child in module.named_children():
            if isinstance(child, RepVGGBlock):
                setattr(module, name, child.merged())
    return found
