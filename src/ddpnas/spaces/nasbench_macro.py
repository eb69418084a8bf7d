"""NAS-Bench-Macro: a chain of 8 layers with 3 choices each, 6,561 networks.

Paper:   Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021,
         arXiv 2103.11922
Code:    written from the paper and the description in xiusu/NAS-Bench-Macro
Licence: Apache-2.0; nothing is copied
Checked: parameters and multiply-adds of all 6,561 rows of the table

Skeleton: a 3x3 convolution to 32 channels, three stages of 2, 3 and 3 layers that double the
channels and halve the size in their first layer, a 1x1 convolution to 1,280, pooling and a
linear classifier. A layer is "identity" (a 1x1 convolution with BatchNorm where the shape
changes), or a MobileNetV2 block with kernel 3 and expansion 3, or kernel 5 and expansion 6.
Text form: 8 digits, 0 identity, 1 and 2 the blocks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.layers import InvertedResidual, conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.mobile import Stage, place_blocks
from ddpnas.utils.settings import Count, Pixels, WidthFactor

__all__ = ["LAYERS", "OPERATIONS", "SPACE", "network"]

OPERATIONS = ("identity", "mb3_k3", "mb6_k5")
STAGES = (2, 3, 3)
LAYERS = tuple(f"layer{i}" for i in range(1, sum(STAGES) + 1))


def network(
    choose: Choose,
    *,
    width: WidthFactor = 1.0,
    num_classes: Count = 10,
    input_shape: Sequence[Pixels] = (3, 32, 32),
) -> nn.Module:
    """Return the network that the head of this file describes.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        width: Factor of all channels.
        num_classes: Outputs of the classifier, (N, num_classes).
        input_shape: Shape of an image, (channels, height, width), 3x32x32 in the benchmark.
    """
    searching = choose.searching
    stem, head = max(1, round(32 * width)), max(1, round(1280 * width))
    stages = [Stage(stem * 2**i, count, 2) for i, count in enumerate(STAGES, start=1)]

    def layers() -> Iterator[nn.Module]:
        for name, (stage, _, before, stride) in zip(
            LAYERS, place_blocks(stem, stages), strict=True
        ):
            yield choose(name, _options(before, stage.width, stride, searching))

    return nn.Sequential(
        conv_bn(input_shape[0], stem, 3, activation=nn.ReLU6, searching=searching),
        *layers(),
        conv_bn(stages[-1].width, head, 1, activation=nn.ReLU6, searching=searching),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(head, num_classes),
    )


def _options(
    width: int, out: int, stride: int, searching: bool
) -> dict[str, Callable[[], nn.Module]]:
    def block(kernel: int, expansion: int) -> nn.Module:
        return InvertedResidual(
            width,
            out,
            kernel=kernel,
            expansion=expansion,
            stride=stride,
            searching=searching,
            option=True,
        )

    def identity() -> nn.Module:
        if stride == 1:
            return nn.Identity()
        return conv_bn(width, out, 1, stride=stride, searching=searching, option=True)

    return {"identity": identity, "mb3_k3": lambda: block(3, 3), "mb6_k5": lambda: block(5, 6)}


def format_digits(architecture: Mapping[str, str]) -> str:
    """Return the 8 digits of the benchmark."""
    return "".join(str(OPERATIONS.index(architecture[layer])) for layer in LAYERS)


def parse_digits(text: str) -> dict[str, str]:
    """Return the choices in 8 digits; :class:`ArchitectureError` when they are none."""
    if not re.fullmatch(r"[0-2]{8}", text.strip()):
        raise ArchitectureError(
            f"cannot read the architecture {text!r}; the form is 8 digits from 0 to 2, "
            f"such as '21012210'"
        )
    return {
        layer: OPERATIONS[int(digit)] for layer, digit in zip(LAYERS, text.strip(), strict=True)
    }


def canonical(architecture: Mapping[str, str]) -> dict[str, str]:
    """Return the network with the identities of each stage at its end.

    The first layer of a stage stays: an identity there is a convolution.
    """
    result: list[str] = []
    for count in STAGES:
        names = LAYERS[len(result) : len(result) + count]
        first, *others = (architecture[name] for name in names)
        result += [first, *sorted(others, key=lambda operation: operation == "identity")]
    return dict(zip(LAYERS, result, strict=True))


SPACE = functools.partial(
    SearchSpace, network, text=(format_digits, parse_digits), canonical=canonical
)
