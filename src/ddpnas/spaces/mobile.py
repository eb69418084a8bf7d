"""What mobile networks have in common: a stem, stages of blocks, a head, and their text forms.

A network is ``nn.Sequential(stem, *blocks(), *classifier(...))``. Python makes these from left to
right, so weights are drawn in the order of the layers.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from torch import nn

from ddpnas.errors import ArchitectureError, OptionError
from ddpnas.space.layers import conv_bn
from ddpnas.utils.shapes import Range

__all__ = [
    "Block",
    "Reduction",
    "Stage",
    "classifier",
    "fewer_strides",
    "kernels_and_expansions",
    "make_divisible",
    "place_blocks",
    "read_list",
    "read_stages",
    "size_stages",
    "timm_string",
]

Reduction = Annotated[int, Range(1, 32)]
"""Product of all strides of a network."""


@dataclass(frozen=True)
class Stage:
    """Blocks of one width, of which the first has the stride.

    Attributes:
        width: Channels of their outputs.
        blocks: Largest number of blocks.
        stride: Stride of the first.
        excite: Whether they have squeeze-and-excitation.
        relu: Whether they have ReLU although the network's activation is another.
    """

    width: int
    blocks: int
    stride: int
    excite: bool = False
    relu: bool = False


@dataclass(frozen=True)
class Block:
    """Kernel and expansion of an inverted residual block.

    Attributes:
        kernel: Size of the depthwise kernel.
        expansion: Width of the depthwise convolution, in input widths.
    """

    kernel: int
    expansion: int


def make_divisible(width: float, divisor: int = 8) -> int:
    """Return the multiple of ``divisor`` nearest to the width, at least 90 % of it.

    Example:
        >>> make_divisible(24 * 0.75), make_divisible(10)
        (24, 16)
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def fewer_strides(strides: Sequence[int], reduction: int) -> list[int]:
    """Return the strides, the first of them set to 1 until they multiply to ``reduction``.

    Mobile networks shrink their input 32 times, which is too much for small images. With a
    reduction of 8, images of 32x32 end as 4x4, and the first layers run at full size.

    Args:
        strides: Strides of 1 and 2, in the order of the layers.
        reduction: Product that they should have.

    Raises:
        OptionError: The strides cannot multiply to that.

    Example:
        >>> fewer_strides([2, 1, 2, 2, 2, 2], 8)
        [1, 1, 1, 2, 2, 2]
    """
    result = list(strides)
    product = 1
    for stride in result:
        product *= stride
    for i, stride in enumerate(result):
        if product > reduction and stride > 1:
            result[i] = 1
            product //= stride
    if product != reduction:
        raise OptionError(f"reduction must be a power of 2 from 1 to 32, not {reduction}")
    return result


def size_stages(
    stages: Sequence[Stage],
    width: float,
    reduction: int,
    rounded: Callable[[float], int] = make_divisible,
) -> tuple[int, tuple[Stage, ...]]:
    """Return the stride of the stem, and the stages at another width and with fewer strides.

    Args:
        stages: Stages as published, behind a stem of stride 2.
        width: Factor of their channels.
        reduction: See :func:`fewer_strides`.
        rounded: Makes a number of channels of a product.

    Example:
        >>> size_stages([Stage(24, 2, 2), Stage(40, 3, 2)], 0.5, 4)
        (1, (Stage(width=16, blocks=2, stride=2, ...), Stage(width=24, blocks=3, stride=2, ...)))
    """
    stem, *strides = fewer_strides([2, *(stage.stride for stage in stages)], reduction)
    return stem, tuple(
        replace(stage, width=rounded(stage.width * width), stride=stride)
        for stage, stride in zip(stages, strides, strict=True)
    )


def place_blocks(stem: int, stages: Sequence[Stage]) -> Iterator[tuple[Stage, int, int, int]]:
    """Yield (stage, number in it from 1, input channels, stride) of each block of a chain.

    Args:
        stem: Channels before the first block.
        stages: Stages, at their final sizes.

    Example:
        >>> [place[1:] for place in place_blocks(16, [Stage(24, 2, 2), Stage(40, 1, 2)])]
        [(1, 16, 2), (2, 24, 1), (1, 24, 2)]
    """
    width = stem
    for stage in stages:
        for number in range(1, stage.blocks + 1):
            yield stage, number, width, stage.stride if number == 1 else 1
            width = stage.width


def kernels_and_expansions(
    make: Callable[[int, int], nn.Module], expansions: Sequence[int]
) -> dict[str, Callable[[], nn.Module]]:
    """Return the options "k3_e1", "k5_e1", ... of a block with kernel 3, 5 or 7.

    Args:
        make: Makes the block of a kernel and an expansion.
        expansions: Expansions to choose from.
    """
    return {
        f"k{kernel}_e{expansion}": functools.partial(make, kernel, expansion)
        for expansion in expansions
        for kernel in (3, 5, 7)
    }


def classifier(
    width: int,
    head: int,
    num_classes: int,
    *,
    activation: Callable[[], nn.Module],
    searching: bool,
    dropout: float = 0.0,
    bias: bool = True,
) -> Iterator[nn.Module]:
    """Yield the end of a mobile network: 1x1 convolution, global pooling, dropout, linear layer.

    Args:
        width: Channels of the last block, (N, width, H, W).
        head: Channels of the convolution.
        num_classes: Outputs, (N, num_classes).
        activation: Activation after the convolution.
        searching: See :func:`ddpnas.space.layers.batch_norm`.
        dropout: Probability that an input of the linear layer is dropped.
        bias: Whether the linear layer has a bias.
    """
    yield conv_bn(width, head, 1, activation=activation, searching=searching)
    yield nn.AdaptiveAvgPool2d(1)
    yield nn.Flatten()
    yield nn.Dropout(dropout)
    yield nn.Linear(head, num_classes, bias=bias)


def read_list(text: str, form: str) -> list[Any]:
    """Return the Python list in a text.

    Args:
        text: Text of an architecture.
        form: The form that it should have, for the message.

    Raises:
        ArchitectureError: The text is not a Python list.

    Example:
        >>> read_list("[(3, 6), None]", "a list of pairs")
        [(3, 6), None]
    """
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        value = None
    if not isinstance(value, list):
        raise ArchitectureError(f"cannot read the architecture {text!r}; the form is {form}")
    return value


def timm_string(block: Block, stage: Stage, stride: int) -> str:
    """Return timm's string of one block, such as ``ir_r1_k3_s2_e6_c40_se0.25_nre``.

    ``ds`` is an inverted residual without expansion, ``nre`` is ReLU.

    Example:
        >>> timm_string(Block(kernel=5, expansion=6), Stage(40, 4, 2, excite=True), 2)
        'ir_r1_k5_s2_e6_c40_se0.25'
    """
    kind = "ir" if block.expansion > 1 else "ds"
    expansion = f"_e{block.expansion}" if block.expansion > 1 else ""
    return (
        f"{kind}_r1_k{block.kernel}_s{stride}{expansion}_c{stage.width}"
        f"{'_se0.25' if stage.excite else ''}{'_nre' if stage.relu else ''}"
    )


def read_stages(stages: Sequence[Any], skeleton: Sequence[Stage]) -> list[list[Block | None]]:
    """Return the blocks of each stage; None for a block that is left out.

    Args:
        stages: A list of timm's strings for each stage; ``r2`` is two equal blocks. A block that
            is left out is "skip", or missing at the end.
        skeleton: Stages of the space.

    Raises:
        ArchitectureError: Strings, stages, widths or strides are not those of the space.
    """
    if len(stages) != len(skeleton):
        raise ArchitectureError(f"{len(stages)} stages given, the space has {len(skeleton)}")
    result: list[list[Block | None]] = []
    for number, (strings, stage) in enumerate(zip(stages, skeleton, strict=True), start=1):
        blocks: list[Block | None] = []
        if not isinstance(strings, list):
            raise ArchitectureError(f"stage {number} is not a list of timm's strings: {strings!r}")
        for string in strings:
            blocks += _read_blocks(str(string), stage, first=not blocks)
        if len(blocks) > stage.blocks:
            raise ArchitectureError(
                f"stage {number} has {len(blocks)} blocks, the space's at most {stage.blocks}"
            )
        result.append(blocks + [None] * (stage.blocks - len(blocks)))
    return result


_TIMM = re.compile(r"(ir|ds)_r(\d+)_k(\d+)_s(\d+)(?:_e(\d+))?_c(\d+)(_se0\.25)?(_nre)?")


def _read_blocks(string: str, stage: Stage, first: bool) -> list[Block | None]:
    if string == "skip":
        return [None]
    found = _TIMM.fullmatch(string)
    if found is None:
        example = timm_string(Block(3, 6), stage, stage.stride)
        raise ArchitectureError(f"cannot read the block {string!r}; the form is {example!r}")
    kind, repeats, kernel, _, expansion, *_ = found.groups()
    block = Block(int(kernel), int(expansion or 1) if kind == "ir" else 1)
    expected = timm_string(block, stage, stage.stride if first else 1)
    if string != expected.replace("_r1_", f"_r{repeats}_"):
        raise ArchitectureError(f"the space has no block {string!r} there; it would be {expected}")
    return [block] * int(repeats)
