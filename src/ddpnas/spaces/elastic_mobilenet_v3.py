"""MobileNetV3 with elastic kernels, expansions, depths and widths that share their weights.

Paper:   Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
         ICLR 2020, arXiv 1908.09791; Yu et al., "BigNAS", ECCV 2020, arXiv 2003.11142
Blocks:  Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244
Code:    written from the papers; the skeleton is that of the space mobilenet-v3
Licence: nothing is copied
Checked: costs of built networks against the table

The decisions of unit u are ``unitU.depth``, ``unitU.width`` where there are several factors, and
for each block b ``unitU.blockB.kernel`` and ``unitU.blockB.expansion``. A smaller kernel is the
transformed center of the larger one, a narrower layer the first channels of the wider one, and a
shallower unit the first blocks of the deeper one. So the largest network holds the weights of all.
Departure: resolution is an option of the data, not a decision.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from torch import nn

from ddpnas.errors import SpaceError
from ddpnas.space.choose import Choose
from ddpnas.space.elastic_kernel import ElasticKernelConv2d
from ddpnas.space.layers import InvertedResidual, conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.mobile import Reduction, Stage, make_divisible, size_stages
from ddpnas.spaces.mobilenet_v3 import STAGES, activation, excite, head
from ddpnas.utils.settings import Count, Pixels, WidthFactor
from ddpnas.utils.shapes import Share

__all__ = ["SPACE", "network"]


def network(
    choose: Choose,
    *,
    width: WidthFactor = 1.0,
    factors: Sequence[WidthFactor] = (1.0,),
    kernels: Sequence[Count] = (3, 5, 7),
    expansions: Sequence[Count] = (3, 4, 6),
    depths: Sequence[Count] = (2, 3, 4),
    num_classes: Count = 1000,
    dropout: Share = 0.0,
    reduction: Reduction = 32,
    input_shape: Sequence[Pixels] = (3, 224, 224),
) -> nn.Module:
    """Return the network that the head of this file describes.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        width: Factor of all channels (Once-for-All: 1.0 and 1.2).
        factors: Further factors of the channels of a unit to choose from; one is no choice, as in
            Once-for-All. BigNAS chooses widths.
        kernels: Odd sizes of the depthwise kernels to choose from, in increasing order.
        expansions: Expansions of blocks to choose from, in increasing order, above 1.
        depths: Numbers of blocks of a unit to choose from, in increasing order.
        num_classes: Outputs of the classifier, (N, num_classes).
        dropout: Probability that an input of the classifier is dropped.
        reduction: Product of all strides, see :func:`ddpnas.spaces.mobile.fewer_strides`.
        input_shape: Shape of an image, (channels, height, width).
    """
    searching = choose.searching
    stem_stride, (fixed, *units) = size_stages(STAGES, width, reduction)
    stem = make_divisible(16 * width)

    def block(unit: int, b: int, stage: Stage, given: int, out: int) -> nn.Module:
        name, stride = f"unit{unit}.block{b}", stage.stride if b == 1 else 1
        kernel = choose.width(f"{name}.kernel", tuple(kernels))
        made = InvertedResidual(
            given,
            out,
            kernel=kernel,
            expansion=choose.width(f"{name}.expansion", tuple(expansions)),
            stride=stride,
            activation=activation(stage),
            excite=excite if stage.excite else None,
            searching=searching,
        )
        made.residual = b > 1  # whatever widths happen to be equal
        if searching:
            depthwise = made.body[1]
            assert isinstance(depthwise, nn.Sequential) and isinstance(depthwise[0], nn.Conv2d)
            channels = depthwise[0].out_channels
            depthwise[0] = ElasticKernelConv2d(channels, kernel, kernels, stride)
        return made

    if not depths:
        raise SpaceError("depths must name at least one number of blocks, such as (2, 3, 4)")

    def blocks() -> Iterator[nn.Module]:
        given: int = fixed.width
        yield InvertedResidual(
            stem, given, kernel=3, expansion=1, activation=activation(fixed), searching=searching
        )
        for u, stage in enumerate(units, 1):
            out = _unit_width(choose, f"unit{u}", stage, factors)
            for b in range(1, max(depths) + 1):
                # A block of several depths is one module: a deeper unit shares its first blocks.
                once = functools.cache(functools.partial(block, u, b, stage, given, out))
                options = {str(d): once if d >= b else nn.Identity for d in depths}
                yield once() if b <= min(depths) else choose(f"unit{u}.depth", options)
                given = out

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
        *head(
            _unit_width(choose, f"unit{len(units)}", units[-1], factors),
            width,
            num_classes,
            dropout,
            searching=searching,
        ),
    )


def _unit_width(choose: Choose, unit: str, stage: Stage, factors: Sequence[float]) -> int:
    """Return the channels of a unit, a width where there are several."""
    values = sorted({make_divisible(stage.width * factor) for factor in factors})
    return values[0] if len(values) == 1 else choose.width(f"{unit}.width", values)


SPACE = functools.partial(SearchSpace, network, final_options={"dropout": 0.1})
