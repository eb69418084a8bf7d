"""NAS-Bench-201: one cell of 4 nodes and 6 edges, 5 operations an edge, 15,625 cells.

Paper:   Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
         Search", ICLR 2020, arXiv 2001.00326
Code:    written from the paper and the behaviour of D-X-Y/AutoDL-Projects
Licence: MIT; nothing is copied
Checked: parameters and multiply-adds of all rows of the benchmark

Skeleton: a 3x3 convolution to ``channels``, then three stages of ``cells_per_stage`` equal cells
at widths C, 2C and 4C, a residual block of stride 2 before the second and the third, then
BatchNorm, ReLU, global average pooling and a linear classifier. A cell's node is the sum of its
incoming edges. Text form, edges of node 1, 2, 3 in turn:

    |nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|skip_connect~1|nor_conv_1x1~2|
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.layers import NoConnection, add, batch_norm
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import is_absent
from ddpnas.utils.settings import Channels, Count, Pixels
from ddpnas.utils.shapes import Range

__all__ = ["EDGES", "OPERATIONS", "SPACE", "canonical_cell", "format_cell", "network", "parse_cell"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (node, its input)


def network(
    choose: Choose,
    *,
    channels: Channels = 16,
    cells_per_stage: Annotated[int, Range(1, 1000)] = 5,
    num_classes: Count = 10,
    input_shape: Sequence[Pixels] = (3, 32, 32),
) -> nn.Module:
    """Return the network, its six edges asked of ``choose`` and shared by all cells.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        channels: Width C of the first stage.
        cells_per_stage: Cells N of each stage; the benchmark has 5.
        num_classes: Outputs of the classifier, (N, num_classes).
        input_shape: Shape of an image, (channels, height, width); any size, the benchmark's are
            3x32x32 and 3x16x16.
    """
    searching = choose.searching
    layers: list[nn.Module] = [
        nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False),
        batch_norm(channels, searching=searching),
    ]
    width = channels
    for stage in range(3):
        if stage > 0:
            layers.append(ResidualBlock(width, 2 * width, searching))
            width *= 2
        layers += [Cell(choose, width) for _ in range(cells_per_stage)]
    layers += [
        batch_norm(width, searching=searching),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    ]
    return nn.Sequential(*layers)


class Cell(nn.Module):
    """Four nodes; node i is the sum over j < i of edge (i, j) applied to node j."""

    def __init__(self, choose: Choose, width: int) -> None:
        super().__init__()

        def conv(kernel: int) -> nn.Module:
            return relu_conv_bn(width, width, kernel, searching=choose.searching, option=True)

        options = {
            "none": NoConnection,
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: conv(1),
            "nor_conv_3x3": lambda: conv(3),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, padding=1, count_include_pad=False),
        }
        self.edges = nn.ModuleList(choose(f"{i}<-{j}", options) for i, j in EDGES)

    def forward(self, x: Tensor) -> Tensor:
        """Return node 3 for node 0 = x; both (N, width, H, W).

        In a supernet, what does not lead to node 3 does not run, nor what a node without inputs
        leads to: every option gives zeros for zeros there, since no norm is affine.
        """
        edges = [
            (i, j, edge)
            for (i, j), edge in zip(EDGES, self.edges, strict=True)
            if not is_absent(edge)
        ]
        leading = {3}
        for i, j, _ in reversed(edges):
            if i in leading:
                leading.add(j)
        nodes = {0: x}
        for node in (1, 2, 3):
            inputs = [
                edge(nodes[j]) for i, j, edge in edges if i == node and i in leading and j in nodes
            ]
            if inputs:
                nodes[node] = add(inputs, like=x)
        return nodes[3] if 3 in nodes else torch.zeros_like(x)


class ResidualBlock(nn.Module):
    """The benchmark's fixed block between stages: halves the size, changes the width."""

    def __init__(self, in_width: int, out_width: int, searching: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            relu_conv_bn(in_width, out_width, 3, stride=2, searching=searching),
            relu_conv_bn(out_width, out_width, 3, searching=searching),
        )
        # ceil_mode makes odd sizes fit the convolution's; even sizes are as published.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(in_width, out_width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_width, ceil(H / 2), ceil(W / 2))."""
        body: Tensor = self.body(x)
        shortcut: Tensor = self.shortcut(x)
        return body + shortcut


def relu_conv_bn(
    in_width: int,
    out_width: int,
    kernel: int,
    *,
    stride: int = 1,
    searching: bool,
    option: bool = False,
) -> nn.Sequential:
    """Return ReLU, convolution, BatchNorm: the benchmark's order."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_width, out_width, kernel, stride, padding=kernel // 2, bias=False),
        batch_norm(out_width, searching=searching, option=option),
    )


def format_cell(architecture: Mapping[str, str]) -> str:
    """Return the published text of a cell."""
    nodes = [
        "".join(f"{architecture[f'{i}<-{j}']}~{j}|" for i, j in EDGES if i == node)
        for node in (1, 2, 3)
    ]
    return "+".join(f"|{edges}" for edges in nodes)


def parse_cell(text: str) -> dict[str, str]:
    """Return the choices in a published text; :class:`ArchitectureError` when it is none."""
    found = re.findall(r"([a-z0-9_]+)~(\d)", text)
    choices = {f"{i}<-{j}": op for (i, j), (op, _) in zip(EDGES, found, strict=False)}
    if len(found) != len(EDGES) or format_cell(choices) != text.strip():
        raise ArchitectureError(
            f"cannot read the cell {text!r}; the form is "
            f"'|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|none~1|skip_connect~2|'"
        )
    return choices


def canonical_cell(architecture: Mapping[str, str]) -> dict[str, str]:
    """Return the first of all cells that are the same network.

    A node is the sum of its incoming edges; an edge of "none", or from a node that gets nothing,
    adds nothing, "skip_connect" adds what its node is the sum of, and the order of a sum does
    not matter; what does not reach the last node does not count. (An operation on a node that
    gets nothing is nothing: a constant at most, which BatchNorm can learn.) One convolution whose
    output arrives twice is another network than two convolutions alike, with weights of their own.
    """
    choices = tuple(architecture[f"{i}<-{j}"] for i, j in EDGES)
    first = _first_cells()[_expression(choices)]
    return {f"{i}<-{j}": op for (i, j), op in zip(EDGES, first, strict=True)}


def _expression(choices: Sequence[str]) -> tuple[object, ...]:
    """Return what node 3 computes: a sorted tuple of terms, an operation on such a tuple each.

    Only what edge 1<-0 gives can arrive more than once: node 1 has two ways on, node 2 has one.
    """
    conv = choices[0].startswith("nor_conv")
    expression = _sums([f"one {choices[0]}", *choices[1:]]) if conv else ()
    return expression if repr(expression).count("one ") > 1 else _sums(choices)


def _sums(choices: Sequence[str]) -> tuple[object, ...]:
    """Return what node 3 computes, every operation with its own weights."""
    nodes: list[tuple[object, ...]] = [("input",)]
    for node in (1, 2, 3):
        terms: list[object] = []
        for (i, j), operation in zip(EDGES, choices, strict=True):
            if i != node or operation == "none" or not nodes[j]:
                continue
            terms += nodes[j] if operation == "skip_connect" else [(operation, nodes[j])]
        nodes.append(tuple(sorted(terms, key=repr)))
    return nodes[3]


@functools.cache
def _first_cells() -> dict[tuple[object, ...], tuple[str, ...]]:
    """Return expression -> first cell, in the order of operations, that computes it."""
    first: dict[tuple[object, ...], tuple[str, ...]] = {}
    for choices in itertools.product(OPERATIONS, repeat=len(EDGES)):
        first.setdefault(_expression(choices), choices)
    return first


SPACE = functools.partial(
    SearchSpace,
    network,
    text=(format_cell, parse_cell),
    canonical=canonical_cell,
)
