"""Reading and checking the Python lists in which architectures are published."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddpnas.errors import ArchitectureError, OptionError

__all__ = [
    "Block",
    "Stage",
    "fewer_strides",
    "make_divisible",
    "read_list",
    "read_stages",
    "timm_string",
]


@dataclass(frozen=True)
class Stage:
    """Blocks of one width, of which the first has the stride.

    Attributes:
        width: channels.
        blocks: how many there are at most.
        stride: of the first.
        excite: whether they have squeeze-and-excitation.
        relu: whether they have ReLU where the network's activation is another.
    """

    width: int
    blocks: int
    stride: int
    excite: bool = False
    relu: bool = False


@dataclass(frozen=True)
class Block:
    """Kernel and expansion of an inverted residual block."""

    kernel: int
    expansion: int


def read_list(text: str, form: str) -> list[Any]:
    """Return the Python list in the text; :class:`ArchitectureError` names the form otherwise."""
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
    """
    kind = "ir" if block.expansion > 1 else "ds"
    expansion = f"_e{block.expansion}" if block.expansion > 1 else ""
    return (
        f"{kind}_r1_k{block.kernel}_s{stride}{expansion}_c{stage.width}"
        f"{'_se0.25' if stage.excite else ''}{'_nre' if stage.relu else ''}"
    )


def read_stages(stages: Sequence[Any], skeleton: Sequence[Stage]) -> list[list[Block | None]]:
    """Return the blocks of each stage; None for one that is left out.

    Args:
        stages: of timm's strings (``r2`` is two equal blocks), a list each; "skip" or nothing
            stands for a block that is left out.
        skeleton: what the space's stages are.

    Raises:
        ArchitectureError: other strings, stages, widths or strides than the space's.
    """
    if len(stages) != len(skeleton):
        raise ArchitectureError(f"{len(stages)} stages given, the space has {len(skeleton)}")
    result: list[list[Block | None]] = []
    for number, (strings, stage) in enumerate(zip(stages, skeleton, strict=True), start=1):
        blocks: list[Block | None] = []
        if not isinstance(strings, list):
            raise ArchitectureError(f"stage {number} is no list of timm's strings: {strings!r}")
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


def make_divisible(width: float, divisor: int = 8) -> int:
    """Return the multiple of ``divisor`` nearest to the width, at least 90 % of it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def fewer_strides(strides: Sequence[int], reduction: int) -> list[int]:
    """Return the strides, the first of them set to 1 until they multiply to ``reduction``.

    Mobile networks shrink their input 32 times, too often for small images: with 8, images of
    32x32 end as 4x4, and the layers at full size are the first ones.

    Raises:
        OptionError: the strides cannot multiply to that.
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
        raise OptionError(f"reduction is a power of 2 from 1 to 32, not {reduction}")
    return result
