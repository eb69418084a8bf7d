"""MobileNetV3 as in Once-for-All: kernel, expansion and depth of 5 units, 7,371^5 networks.

Paper:   Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
         ICLR 2020, arXiv 1908.09791
Blocks:  Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244
Code:    written from the papers and the behaviour of mit-han-lab/once-for-all
Licence: MIT; nothing is copied
Checked: the number of networks in the paper

Skeleton: a 3x3 convolution of stride 2 to 16 channels (h-swish), a fixed block of 16 (kernel 3,
expansion 1), five units of 24, 40, 80, 112 and 160 channels, a 1x1 convolution to 960, pooling,
a 1x1 convolution to 1,280 without BatchNorm, a linear classifier. The first two units have ReLU,
the others h-swish; units 2, 4 and 5 squeeze and excite. Every block chooses kernel 3, 5 or 7 and
expansion 3, 4 or 6; the third and fourth block of a unit may be skipped, the fourth always when
the third is. That order is a rule of final networks; paths of a supernet, where skipping the
third block alone is a network like any other, need not obey it. Weights of kernels and widths
are not nested in each other as in Once-for-All: each option has its own.

Text form: timm's strings, a list a stage, ``[['ds_r1_k3_s1_c16_nre'], ['ir_r1_k3_s2_e3_c24_nre',
...], ...]``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.decisions import Rule
from ddpnas.space.layers import InvertedResidual, SqueezeExcite, conv_bn
from ddpnas.space.search_space import SearchSpace, Text
from ddpnas.space.widths import Width
from ddpnas.spaces.mobile import (
    Block,
    Reduction,
    Stage,
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

__all__ = ["OPERATIONS", "SPACE", "STAGES", "activation", "excite", "head", "network"]

OPERATIONS = tuple(f"k{k}_e{e}" for e in (3, 4, 6) for k in (3, 5, 7))
LEAST_DEPTH = 2
STAGES = (
    Stage(16, 1, 1, relu=True),  # fixed
    Stage(24, 4, 2, relu=True),
    Stage(40, 4, 2, excite=True, relu=True),
    Stage(80, 4, 2),
    Stage(112, 4, 1, excite=True),
    Stage(160, 4, 2, excite=True),
)


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
        width: Factor of all channels (Once-for-All: 1.0 and 1.2).
        num_classes: Outputs of the classifier, (N, num_classes).
        dropout: Probability that an input of the classifier is dropped.
        reduction: Product of all strides, see :func:`ddpnas.spaces.mobile.fewer_strides`.
        input_shape: Shape of an image, (channels, height, width).
    """
    searching = choose.searching
    stem_stride, (fixed, *units) = size_stages(STAGES, width, reduction)
    stem = make_divisible(16 * width)

    def block(
        stage: Stage, before: int, stride: int, option: bool, kernel: int, expansion: int
    ) -> nn.Module:
        return InvertedResidual(
            before,
            stage.width,
            kernel=kernel,
            expansion=expansion,
            stride=stride,
            activation=activation(stage),
            excite=excite if stage.excite else None,
            searching=searching,
            option=option,
        )

    def blocks() -> Iterator[nn.Module]:
        yield block(fixed, stem, 1, False, 3, 1)
        unit = 0
        for stage, i, before, stride in place_blocks(fixed.width, units):
            unit += i == 1
            make = functools.partial(block, stage, before, stride, True)
            options = kernels_and_expansions(make, (3, 4, 6))
            if i > LEAST_DEPTH:
                options["skip"] = nn.Identity
            yield choose(f"unit{unit}.block{i}", options)

    return nn.Sequential(
        conv_bn(
            input_shape[0],
            stem,
            3,
            stride=stem_stride,
            activation=nn.Hardswish,
            searching=searching,
        ),
        *blocks(),
        *head(units[-1].width, width, num_classes, dropout, searching=searching),
    )


def activation(stage: Stage) -> type[nn.Module]:
    """Return the activation of the blocks of a stage."""
    return nn.ReLU if stage.relu else nn.Hardswish


def excite(width: int) -> nn.Module:
    """Return the layer that squeezes and excites channels, of which there may be a width."""
    squeezed = width.map(_squeezed) if isinstance(width, Width) else _squeezed(width)
    return SqueezeExcite(width, squeezed, nn.ReLU, nn.Hardsigmoid)


def _squeezed(width: int) -> int:
    return make_divisible(width // 4)


def head(
    given: int, width: float, num_classes: int, dropout: float, *, searching: bool
) -> list[nn.Module]:
    """Return the layers behind the last block.

    Args:
        given: Channels of the last block.
        width: Factor of all channels.
        num_classes: Outputs of the classifier.
        dropout: Probability that an input of the classifier is dropped.
        searching: See :attr:`ddpnas.space.Choose.searching`.
    """
    expanded, last = make_divisible(960 * width), make_divisible(1280 * width)
    return [
        conv_bn(given, expanded, 1, activation=nn.Hardswish, searching=searching),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(expanded, last, 1, bias=False),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(last, num_classes),
    ]


def depth_rules(options: Mapping[str, Any]) -> list[Rule]:
    """Return, for each unit, that its fourth block needs the third."""
    return [
        Rule(
            {
                **{(f"unit{unit}.block4", operation): 1.0 for operation in OPERATIONS},
                **{(f"unit{unit}.block3", operation): -1.0 for operation in OPERATIONS},
            },
            says=f"unit {unit} has its fourth block only with the third",
            upper=0.0,
            final=True,
        )
        for unit in range(1, len(STAGES))
    ]


def _format_stages(stages: Sequence[Stage], architecture: Mapping[str, str]) -> str:
    """Return timm's strings, a list a stage."""
    lists = [[_fixed(stages)]]
    for unit, stage in enumerate(stages[1:], start=1):
        strings: list[str] = []
        for i in range(1, stage.blocks + 1):
            option = architecture[f"unit{unit}.block{i}"]
            if option == "skip":
                strings.append("skip")
            else:
                kernel, expansion = (int(part[1:]) for part in option.split("_"))
                stride = stage.stride if i == 1 else 1
                strings.append(timm_string(Block(kernel, expansion), stage, stride))
        while strings[-1] == "skip":
            strings.pop()
        lists.append(strings)
    return str(lists)


def _parse_stages(stages: Sequence[Stage], text: str) -> dict[str, str]:
    """Return the choices in such lists."""
    fixed = _fixed(stages)
    lists = read_list(text, f"timm's strings, such as \"[['{fixed}'], ...]\"")
    first, *units = read_stages(lists, stages)
    if first != [Block(3, 1)]:
        raise ArchitectureError(f"the first stage is fixed: ['{fixed}']")
    return {
        f"unit{unit}.block{i}": "skip" if b is None else f"k{b.kernel}_e{b.expansion}"
        for unit, blocks in enumerate(units, start=1)
        for i, b in enumerate(blocks, start=1)
    }


def _fixed(stages: Sequence[Stage]) -> str:
    return timm_string(Block(3, 1), stages[0], 1)


def _text(options: Mapping[str, Any]) -> Text:
    _, stages = size_stages(STAGES, options["width"], options["reduction"])
    return functools.partial(_format_stages, stages), functools.partial(_parse_stages, stages)


def canonical(architecture: Mapping[str, str]) -> dict[str, str]:
    """Return the network with the skips of each unit at its end."""
    result = dict(architecture)
    for unit in range(1, len(STAGES)):
        third, fourth = f"unit{unit}.block3", f"unit{unit}.block4"
        if architecture[third] == "skip":
            result[third], result[fourth] = architecture[fourth], "skip"
    return result


SPACE = functools.partial(
    SearchSpace,
    network,
    text=_text,
    rules=depth_rules,
    canonical=canonical,
    final_options={"dropout": 0.1},
)
