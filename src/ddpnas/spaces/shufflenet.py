"""ShuffleNetV2 blocks of Single Path One-Shot: 20 blocks, 4 choices each, 4^20 networks.

Paper:   Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV
         2020, arXiv 1904.00420
Blocks:  Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
         ECCV 2018, arXiv 1807.11164
Code:    written from the papers and the behaviour of megvii-model/SinglePathOneShot
Licence: no licence stated there; nothing is copied
Checked: multiply-adds of the paper's network, 319 M

Skeleton: a 3x3 convolution of stride 2 to 16 channels; stages of 4, 4, 8 and 4 blocks with 64,
160, 320 and 640 channels, each beginning with stride 2; a 1x1 convolution to 1,024, pooling,
dropout and a classifier without bias. A block is a ShuffleNetV2 unit with kernel 3, 5 or 7, or
the Xception-like one of three depthwise convolutions. Text form: a list of 20 digits, 0 to 3 in
this order; the digits alone are read as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.layers import conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.mobile import Reduction, Stage, classifier, place_blocks, read_list, size_stages
from ddpnas.utils.settings import Count, Pixels, WidthFactor
from ddpnas.utils.shapes import Share

__all__ = ["BLOCKS", "OPERATIONS", "SPACE", "network"]

OPERATIONS = ("shuffle_k3", "shuffle_k5", "shuffle_k7", "xception")
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))  # channels, blocks
BLOCKS = tuple(f"block{i}" for i in range(1, 21))


def network(
    choose: Choose,
    *,
    width: WidthFactor = 1.0,
    num_classes: Count = 1000,
    dropout: Share = 0.0,
    reduction: Reduction = 32,
    input_shape: Sequence[Pixels] = (3, 224, 224),
) -> nn.Module:
    """Return the network that the head of this file describes.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        width: Factor of all channels.
        num_classes: Outputs of the classifier, (N, num_classes).
        dropout: Probability that an input of the classifier is dropped.
        reduction: Product of all strides, see :func:`ddpnas.spaces.mobile.fewer_strides`.
        input_shape: Shape of an image, (channels, height, width).
    """
    searching = choose.searching
    published = [Stage(channels, blocks, 2) for channels, blocks in STAGES]
    stem_stride, stages = size_stages(published, width, reduction, _even)
    stem, last = _even(16 * width), _even(1024 * width)

    def blocks() -> Iterator[nn.Module]:
        places = place_blocks(stem, stages)
        for number, (stage, i, before, stride) in enumerate(places, start=1):
            # The first block changes the channels, by two branches, also where it keeps the size.
            options = _options(before, stage.width, stride if i == 1 else 0, searching)
            yield choose(f"block{number}", options)

    return nn.Sequential(
        conv_bn(
            input_shape[0], stem, 3, stride=stem_stride, activation=nn.ReLU, searching=searching
        ),
        *blocks(),
        *classifier(
            stages[-1].width,
            last,
            num_classes,
            activation=nn.ReLU,
            searching=searching,
            dropout=dropout,
            bias=False,
        ),
    )


def _even(width: float) -> int:
    """Return a number of channels that can be split into halves."""
    return 2 * max(1, round(width / 2))


def _options(
    width: int, out: int, stride: int, searching: bool
) -> dict[str, Callable[[], nn.Module]]:
    def block(kernel: int, xception: bool = False) -> nn.Module:
        return ShuffleBlock(width, out, kernel, stride, xception, searching)

    return {
        "shuffle_k3": lambda: block(3),
        "shuffle_k5": lambda: block(5),
        "shuffle_k7": lambda: block(7),
        "xception": lambda: block(3, xception=True),
    }


class ShuffleBlock(nn.Module):
    """A ShuffleNetV2 unit: half of the channels pass, the other half is computed anew.

    Args:
        width: Channels of the input, (N, width, H, W).
        out: Channels of the output.
        kernel: Kernel of the depthwise convolutions.
        stride: Stride of a block that begins a stage, whose passing half is projected; 0 for
            other blocks.
        xception: Whether there are three depthwise convolutions instead of one.
        searching: See :func:`ddpnas.space.layers.batch_norm`.
    """

    def __init__(
        self, width: int, out: int, kernel: int, stride: int, xception: bool, searching: bool
    ) -> None:
        super().__init__()
        self.splits = stride == 0
        width = width // 2 if self.splits else width
        middle, new = out // 2, out - width

        def depthwise(channels: int, stride: int = 1) -> nn.Module:
            return conv_bn(
                channels,
                channels,
                kernel,
                stride=stride,
                groups=channels,
                searching=searching,
                option=True,
            )

        def pointwise(a: int, b: int) -> nn.Module:
            return conv_bn(a, b, 1, activation=nn.ReLU, searching=searching, option=True)

        first = max(1, stride)
        if xception:
            self.main = nn.Sequential(
                depthwise(width, first),
                pointwise(width, middle),
                depthwise(middle),
                pointwise(middle, middle),
                depthwise(middle),
                pointwise(middle, new),
            )
        else:
            self.main = nn.Sequential(
                pointwise(width, middle), depthwise(middle, first), pointwise(middle, new)
            )
        self.passing = (
            nn.Identity()
            if self.splits
            else nn.Sequential(depthwise(width, first), pointwise(width, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out, H, W), half as high and wide with stride 2."""
        passing, rest = (x[:, 0::2], x[:, 1::2]) if self.splits else (x, x)
        return torch.cat([self.passing(passing), self.main(rest)], dim=1)


def format_digits(architecture: Mapping[str, str]) -> str:
    """Return the list of 20 digits."""
    return str([OPERATIONS.index(architecture[block]) for block in BLOCKS])


def parse_digits(text: str) -> dict[str, str]:
    """Return the choices in a list of 20 digits; :class:`ArchitectureError` when it is none."""
    form = "a list of 20 digits from 0 to 3, such as '[0, 0, 3, 1, ...]'"
    stripped = text.strip()
    digits = list(map(int, stripped)) if stripped.isdecimal() else read_list(text, form)
    if len(digits) != len(BLOCKS) or not all(type(d) is int and d in range(4) for d in digits):
        raise ArchitectureError(f"cannot read the architecture {text!r}; the form is {form}")
    return {block: OPERATIONS[digit] for block, digit in zip(BLOCKS, digits, strict=True)}


SPACE = functools.partial(
    SearchSpace,
    network,
    text=(format_digits, parse_digits),
    final_options={"dropout": 0.1},
)
