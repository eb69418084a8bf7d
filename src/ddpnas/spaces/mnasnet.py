"""MnasNet-like space of Accel-NASBench: 7 blocks; expansion, kernel, layers and SE of each.

Paper:   Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS", DAC
         2024, arXiv 2404.08005
Blocks:  Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019,
         arXiv 1807.11626; Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946
Code:    choices, widths and strides of the configuration space of afzalxo/Accel-NASBench
Licence: MIT
Checked: EfficientNet-B0, to the last parameter

Choices of a block: expansion 1, 4 or 6, kernel 3 or 5, layers 1, 2 or 3 (block 6: also 4),
squeeze-and-excitation or not; 1.04e11 combinations. The public code does not show what is around
the blocks; here it is EfficientNet-B0's: a 3x3 convolution of stride 2 to 32 channels, a 1x1
convolution to 1,280, pooling, dropout and a linear classifier, SiLU everywhere, and squeezing to
a quarter of the block's input. So EfficientNet-B0 is in the space.

All layers of a block share its choices, and only its first has the stride. Text form: a list with
[expansion, kernel, layers, SE] for each block, SE 0 or 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.layers import InvertedResidual, SqueezeExcite, conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.mobile import (
    Reduction,
    Stage,
    classifier,
    make_divisible,
    place_blocks,
    read_list,
    size_stages,
)
from ddpnas.utils.settings import Count, Pixels, WidthFactor
from ddpnas.utils.shapes import Share

__all__ = ["SPACE", "STAGES", "network"]

STAGES = (
    Stage(16, 3, 1),
    Stage(24, 3, 2),
    Stage(40, 3, 2),
    Stage(80, 3, 2),
    Stage(112, 3, 1),
    Stage(192, 4, 2),
    Stage(320, 3, 1),
)
FACTS = ("expansion", "kernel", "layers", "se")


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
    stem_stride, stages = size_stages(STAGES, width, reduction)
    stem, last = make_divisible(32 * width), make_divisible(1280 * width)

    def layers() -> Iterator[nn.Module]:
        number = 0
        for stage, i, before, stride in place_blocks(stem, stages):
            number += i == 1
            if i == 1:
                yield _layer(choose, f"block{number}", before, stage.width, stride)
            else:
                yield _further_layer(choose, f"block{number}", stage.width, i, stage.blocks)

    return nn.Sequential(
        conv_bn(
            input_shape[0], stem, 3, stride=stem_stride, activation=nn.SiLU, searching=searching
        ),
        *layers(),
        *classifier(
            stages[-1].width,
            last,
            num_classes,
            activation=nn.SiLU,
            searching=searching,
            dropout=dropout,
        ),
    )


def _further_layer(choose: Choose, block: str, width: int, i: int, most: int) -> nn.Module:
    """Return the i-th layer of a block, which is there if the block has that many."""

    def layer() -> nn.Module:
        return _layer(choose, block, width, width, stride=1)

    options: dict[str, Callable[[], nn.Module]] = {
        str(count): layer if count >= i else nn.Identity for count in range(1, most + 1)
    }
    return choose(f"{block}.layers", options)


def _layer(choose: Choose, block: str, width: int, out: int, stride: int) -> nn.Module:
    """Return an inverted residual whose expansion, kernel and SE are asked, one in the other."""

    def make(expansion: int, kernel: int, se: bool) -> nn.Module:
        def excite(middle: int) -> nn.Module:
            return SqueezeExcite(middle, max(1, width // 4), nn.SiLU, nn.Sigmoid)

        return InvertedResidual(
            width,
            out,
            kernel=kernel,
            expansion=expansion,
            stride=stride,
            activation=nn.SiLU,
            excite=excite if se else None,
            searching=choose.searching,
            option=True,
        )

    def ask_se(expansion: int, kernel: int) -> nn.Module:
        return choose(
            f"{block}.se",
            {str(se): functools.partial(make, expansion, kernel, bool(se)) for se in (0, 1)},
        )

    def ask_kernel(expansion: int) -> nn.Module:
        return choose(
            f"{block}.kernel", {str(k): functools.partial(ask_se, expansion, k) for k in (3, 5)}
        )

    return choose(
        f"{block}.expansion", {str(e): functools.partial(ask_kernel, e) for e in (1, 4, 6)}
    )


def format_blocks(architecture: Mapping[str, str]) -> str:
    """Return the list with [expansion, kernel, layers, SE] for each block."""
    return str([[int(architecture[f"block{i}.{fact}"]) for fact in FACTS] for i in range(1, 8)])


def parse_blocks(text: str) -> dict[str, str]:
    """Return the choices in such a list; :class:`ArchitectureError` when it is none."""
    form = "7 times [expansion, kernel, layers, SE], such as '[[1, 3, 1, 1], [6, 3, 2, 1], ...]'"
    blocks = read_list(text, form)
    four = [int] * len(FACTS)
    if len(blocks) != 7 or not all(isinstance(b, list) and [*map(type, b)] == four for b in blocks):
        raise ArchitectureError(f"cannot read the architecture {text!r}; the form is {form}")
    return {
        f"block{i}.{fact}": str(value)
        for i, block in enumerate(blocks, start=1)
        for fact, value in zip(FACTS, block, strict=True)
    }


SPACE = functools.partial(
    SearchSpace,
    network,
    text=(format_blocks, parse_blocks),
    final_options={"dropout": 0.2},
)
