"""MobileNetV2 blocks in a chain: the ProxylessNAS space, and the skeletons of DDPNAS's networks.

Paper:   Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and
         Hardware", ICLR 2019, arXiv 1812.00332
Blocks:  Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
         arXiv 1801.04381
DDPNAS:  Zheng et al., arXiv 1905.13543
Code:    written from the papers; block widths of the skeletons from the configuration files of
         tanglang96/DDPNAS
Licence: no licence stated there; nothing is copied but these numbers
Checked: torchvision's MobileNetV2, its parameters and outputs

A block is an inverted residual with kernel 3, 5 or 7 and expansion 1, 3 or 6, or, where it would
keep its input's shape, "skip". Four skeletons:

* ``proxyless``: 32 channels, a fixed block of 16, then 21 blocks in stages of 24, 40, 80, 96, 192
  (4 each) and 320 (1), a 1x1 convolution to 1,280.
* ``mobilenet-v2``: the same with the widths of MobileNetV2: 24, 32, 64, 96, 160, 320. MobileNetV2
  itself is kernel 3 and expansion 6 with 2, 3, 4, 3, 3 and 1 blocks a stage.
* ``ddpnas-gpu``, ``ddpnas-cpu``: 14 and 20 blocks without skips, the widths and depths of
  ProxylessNAS's networks for GPU and CPU, of which DDPNAS's ImageNet networks choose kernel and
  expansion (of the first block too).

Text form: a list with (kernel, expansion) for each block and None for a skip; timm's strings,
``[['ds_r1_k3_s1_c16'], ['ir_r2_k3_s2_e6_c24'], ...]``, are read as well and written by
:func:`timm_stages`. BatchNorm has torch's epsilon, 1e-5 (ProxylessNAS: 1e-3).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ddpnas.errors import ArchitectureError, OptionError, nearest
from ddpnas.space.choose import Choose
from ddpnas.space.layers import InvertedResidual, conv_bn
from ddpnas.space.search_space import SearchSpace, Text
from ddpnas.spaces.mobile import (
    Block,
    Reduction,
    Stage,
    classifier,
    kernels_and_expansions,
    make_divisible,
    place_blocks,
    read_list,
    read_stages,
    size_stages,
    timm_string,
)
from ddpnas.utils.settings import Count, Pixels, WidthFactor
from ddpnas.utils.shapes import Share

__all__ = ["OPERATIONS", "SKELETONS", "SPACE", "network", "timm_stages"]

OPERATIONS = tuple(f"k{k}_e{e}" for e in (1, 3, 6) for k in (3, 5, 7))


@dataclass(frozen=True)
class Skeleton:
    """The fixed part of a space: widths before, in and after the stages.

    Attributes:
        stem: Channels of the first convolution.
        first: Channels of a fixed block before the stages (kernel 3, expansion 1), or None.
        stages: Stages of searched blocks.
        head: Channels of the last convolution.
        skips: Whether blocks that keep the shape of their input may be skipped.
    """

    stem: int
    first: int | None
    stages: tuple[Stage, ...]
    head: int
    skips: bool = True


def _stages(*stages: tuple[int, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(*stage) for stage in stages)


SKELETONS = {
    "proxyless": Skeleton(
        32,
        16,
        _stages((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)),
        1280,
    ),
    "mobilenet-v2": Skeleton(
        32,
        16,
        _stages((24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 2), (320, 1, 1)),
        1280,
    ),
    "ddpnas-gpu": Skeleton(
        40,
        None,
        _stages(
            (24, 1, 1), (32, 1, 2), (56, 2, 2), (112, 2, 2), (128, 3, 1), (256, 4, 2), (432, 1, 1)
        ),
        1728,
        skips=False,
    ),
    "ddpnas-cpu": Skeleton(
        40,
        None,
        _stages(
            (24, 1, 1), (32, 4, 2), (48, 4, 2), (88, 2, 2), (104, 4, 1), (216, 4, 2), (360, 1, 1)
        ),
        1432,
        skips=False,
    ),
}


def network(
    choose: Choose,
    *,
    skeleton: str = "proxyless",
    width: WidthFactor = 1.0,
    num_classes: Count = 1000,
    dropout: Share = 0.0,
    reduction: Reduction = 32,
    input_shape: Sequence[Pixels] = (3, 224, 224),
) -> nn.Module:
    """Return the network that the head of this file describes.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        skeleton: Name of one of ``SKELETONS``.
        width: Factor of all channels. The last convolution never gets narrower.
        num_classes: Outputs of the classifier, (N, num_classes).
        dropout: Probability that an input of the classifier is dropped.
        reduction: Product of all strides, see :func:`ddpnas.spaces.mobile.fewer_strides`.
        input_shape: Shape of an image, (channels, height, width).
    """
    stem_stride, sized = _sized({"skeleton": skeleton, "width": width, "reduction": reduction})
    searching = choose.searching

    def block(
        before: int, out: int, stride: int, option: bool, kernel: int, expansion: int
    ) -> nn.Module:
        return InvertedResidual(
            before,
            out,
            kernel=kernel,
            expansion=expansion,
            stride=stride,
            searching=searching,
            option=option,
        )

    def blocks() -> Iterator[nn.Module]:
        if sized.first is not None:
            yield block(sized.stem, sized.first, 1, False, 3, 1)
        places = place_blocks(sized.first or sized.stem, sized.stages)
        for number, (stage, i, before, stride) in enumerate(places, start=1):
            make = functools.partial(block, before, stage.width, stride, True)
            options = kernels_and_expansions(make, (1, 3, 6))
            if sized.skips and i > 1:
                options["skip"] = nn.Identity
            yield choose(f"block{number}", options)

    return nn.Sequential(
        conv_bn(
            input_shape[0],
            sized.stem,
            3,
            stride=stem_stride,
            activation=nn.ReLU6,
            searching=searching,
        ),
        *blocks(),
        *classifier(
            sized.stages[-1].width,
            sized.head,
            num_classes,
            activation=nn.ReLU6,
            searching=searching,
            dropout=dropout,
        ),
    )


def _sized(options: Mapping[str, Any]) -> tuple[int, Skeleton]:
    """Return the stride of the stem, and the skeleton at the size that the options ask for."""
    name, width = options["skeleton"], options["width"]
    if name not in SKELETONS:
        raise OptionError(nearest("skeleton", name, SKELETONS))
    skeleton = SKELETONS[name]
    stem_stride, stages = size_stages(skeleton.stages, width, options["reduction"])
    return stem_stride, replace(
        skeleton,
        stem=make_divisible(skeleton.stem * width),
        first=None if skeleton.first is None else make_divisible(skeleton.first * width),
        stages=stages,
        head=make_divisible(skeleton.head * max(1.0, width)),
    )


def timm_stages(architecture: Mapping[str, str], options: Mapping[str, Any]) -> list[list[str]]:
    """Return timm's strings of an architecture, a list a stage, the fixed block's first.

    Args:
        architecture: Architecture of the space.
        options: Options of the space, ``space.options``.
    """
    _, skeleton = _sized(options)
    result = []
    if skeleton.first is not None:
        result.append([timm_string(Block(3, 1), Stage(skeleton.first, 1, 1), 1)])
    number = 0
    for stage in skeleton.stages:
        strings: list[str] = []
        for _ in range(stage.blocks):
            number += 1
            if (pair := _pair(architecture[f"block{number}"])) is not None:
                stride = 1 if strings else stage.stride
                strings.append(timm_string(Block(*pair), stage, stride))
        result.append(strings)
    return result


def _pair(option: str) -> tuple[int, int] | None:
    """Return (kernel, expansion) of an option, None of "skip"."""
    if option == "skip":
        return None
    kernel, expansion = option.split("_")
    return int(kernel[1:]), int(expansion[1:])


def format_pairs(architecture: Mapping[str, str]) -> str:
    """Return the list of (kernel, expansion), None for a skip."""
    return str([_pair(architecture[f"block{i}"]) for i in range(1, len(architecture) + 1)])


def _parse_pairs(skeleton: Skeleton, text: str) -> dict[str, str]:
    """Return the choices in such a list, or in one of timm's strings."""
    count = sum(stage.blocks for stage in skeleton.stages)
    form = (
        f"a list of {count} (kernel, expansion), such as '[(3, 6), (5, 3), ...]', None for a skip"
    )
    items = read_list(text, form)
    if items and isinstance(items[0], list):
        fixed = [Stage(skeleton.first, 1, 1)] if skeleton.first is not None else []
        blocks = read_stages(items, [*fixed, *skeleton.stages])
        if fixed and blocks[0] != [Block(3, 1)]:
            raise ArchitectureError("the first block is fixed: kernel 3, expansion 1")
        items = [
            (b.kernel, b.expansion) if b is not None else None
            for stage in blocks[len(fixed) :]
            for b in stage
        ]
    pairs = all(item is None or (isinstance(item, tuple) and len(item) == 2) for item in items)
    if len(items) != count or not pairs:
        raise ArchitectureError(f"cannot read the architecture {text!r}; the form is {form}")
    return {
        f"block{i}": "skip" if item is None else f"k{item[0]}_e{item[1]}"
        for i, item in enumerate(items, start=1)
    }


def _text(options: Mapping[str, Any]) -> Text:
    return format_pairs, functools.partial(_parse_pairs, _sized(options)[1])


def canonical(architecture: Mapping[str, str]) -> dict[str, str]:
    """Return the network with the skips of each stage at its end (its first block never skips)."""
    if len(architecture) != 21:  # the fixed skeletons have no skips
        return dict(architecture)
    choices = [architecture[f"block{i}"] for i in range(1, 22)]
    result: list[str] = []
    for blocks in (4, 4, 4, 4, 4, 1):
        stage = choices[len(result) : len(result) + blocks]
        result += sorted(stage, key=lambda option: option == "skip")
    return {f"block{i}": option for i, option in enumerate(result, start=1)}


SPACE = functools.partial(
    SearchSpace, network, text=_text, canonical=canonical, final_options={"dropout": 0.2}
)
