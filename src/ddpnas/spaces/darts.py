"""DARTS: a normal and a reduction cell, 14 edges each, 8 operations an edge.

Paper:   Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv 1806.09055
Code:    written from the paper and the behaviour of quark0/darts
Licence: Apache-2.0; nothing is copied
Checked: parameters of DARTS V2, 3,349,342 (36 channels, 20 cells, no auxiliary head) and
         4,718,752 in the ImageNet form; of the network released with DDPNAS
         (tanglang96/DDPNAS), 4.51 M in the ImageNet form, see ``pool_norm``

Cells: two inputs, four nodes, each the sum of edges from the inputs and the nodes before it; the
output is the four nodes side by side. The cells at one and two thirds of the depth are reduction
cells: edges from their inputs have stride 2, and the channels double. Final networks obey the
rule of exactly two inputs a node; paths of a supernet need not.

A path of the supernet is the network that would be built, so no BatchNorm follows its poolings.
DARTS itself has one there while it searches, since it mixes the operations of an edge.

Text form: ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), ...)``; flat
as the authors print it, or with one list for each node. A cell whose nodes do not all have two
inputs is written with lists.
"""

from __future__ import annotations

import ast
import functools
import itertools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from ddpnas.errors import ArchitectureError
from ddpnas.space.choose import Choose
from ddpnas.space.decisions import Rule
from ddpnas.space.layers import FactorizedReduce, NoConnection, add, batch_norm, conv_bn, drop_path
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.settings import Channels, Count, Pixels
from ddpnas.utils.shapes import Range, Share

__all__ = ["CELLS", "EDGES", "OPERATIONS", "SPACE", "network"]

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = (2, 3, 4, 5)
EDGES = tuple((node, source) for node in NODES for source in range(node))
CELLS = ("normal", "reduce")


def network(
    choose: Choose,
    *,
    channels: Channels = 16,
    cells: Annotated[int, Range(3, 1000)] = 8,
    stem: Literal["cifar", "imagenet"] = "cifar",
    auxiliary: bool = False,
    drop_path: Share = 0.0,
    dropout: Share = 0.0,
    pool_norm: bool = False,
    num_classes: Count = 10,
    input_shape: Sequence[Pixels] = (3, 32, 32),
) -> nn.Module:
    """Return the network, its 28 edges asked of ``choose`` and shared by all cells of a kind.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        channels: Width C of a node in the first cells.
        cells: Number L of cells, at least 3.
        stem: "cifar", a 3x3 convolution; "imagenet", three of stride 2 for images of 224x224.
        auxiliary: Whether there is a second classifier after two thirds of the cells. In training
            mode the network then returns (output, auxiliary output). The paper weights the
            second loss by 0.4.
        drop_path: Probability that an edge other than an identity is dropped while training. A
            recipe lets it rise to this over the epochs, as the authors do.
        dropout: Probability that an input of the classifier is dropped.
        pool_norm: Whether BatchNorm follows poolings, as in the code released with DDPNAS. It has
            affine terms, so it adds parameters.
        num_classes: Outputs of the classifier, (N, num_classes).
        input_shape: Shape of an image, (channels, height, width).
    """
    return Network(
        choose,
        channels,
        cells,
        stem,
        auxiliary,
        drop_path,
        dropout,
        pool_norm,
        num_classes,
        input_shape,
    )


class Network(nn.Module):
    """Stem, cells, classifier; see :func:`network`."""

    def __init__(
        self,
        choose: Choose,
        channels: int,
        cells: int,
        stem: str,
        auxiliary: bool,
        drop_path: float,
        dropout: float,
        pool_norm: bool,
        num_classes: int,
        input_shape: Sequence[int],
    ) -> None:
        super().__init__()
        searching = choose.searching
        self.stem, self.second_stem = _stems(stem, input_shape[0], channels, searching)
        before_last = last = channels if stem == "imagenet" else 3 * channels
        reduced = stem == "imagenet"
        self.cells = nn.ModuleList()
        self.auxiliary_after = 2 * cells // 3 if auxiliary else -1
        width = channels
        for i in range(cells):
            reduces = i in (cells // 3, 2 * cells // 3)
            width = 2 * width if reduces else width
            edge = _Edge(width, drop_path, pool_norm, searching)
            self.cells.append(Cell(choose, edge, before_last, last, reduced, reduces))
            before_last, last, reduced = last, len(NODES) * width, reduces
            if i == self.auxiliary_after:
                self.auxiliary = _auxiliary_head(last, num_classes, stem, input_shape, searching)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return (N, num_classes); with the auxiliary output too while training with one."""
        first = self.stem(x)
        second = self.second_stem(first)
        extra = None
        for i, cell in enumerate(self.cells):
            first, second = second, cell(first, second)
            if i == self.auxiliary_after and self.training:
                extra = self.auxiliary(second)
        output: Tensor = self.classifier(second)
        return output if extra is None else (output, extra)


class Cell(nn.Module):
    """Four nodes over two inputs."""

    def __init__(
        self,
        choose: Choose,
        edge: _Edge,
        before_last: int,
        last: int,
        reduced: bool,
        reduces: bool,
    ) -> None:
        super().__init__()
        searching, width = edge.searching, edge.width
        self.reduces = reduces
        self.first = (
            FactorizedReduce(before_last, width, searching=searching)
            if reduced
            else _relu_conv_bn(before_last, width, searching)
        )
        self.second = _relu_conv_bn(last, width, searching)
        kind = CELLS[reduces]
        self.edges = nn.ModuleList(
            choose(f"{kind}.{i}<-{j}", edge.options(2 if reduces and j < 2 else 1))
            for i, j in EDGES
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return (N, 4 width, H, W), half as high and wide as the second input if it reduces."""
        nodes = [self.first(first), self.second(second)]
        like = nodes[1][:, :, ::2, ::2] if self.reduces else nodes[1]
        for node in NODES:
            inputs = [
                edge(nodes[j]) for (i, j), edge in zip(EDGES, self.edges, strict=True) if i == node
            ]
            nodes.append(add(inputs, like=like))
        return torch.cat(nodes[2:], dim=1)


class _Edge:
    """Makes the operations of an edge."""

    def __init__(self, width: int, drop_rate: float, pool_norm: bool, searching: bool) -> None:
        self.width, self.searching = width, searching
        self._drop_rate, self._pool_norm = drop_rate, pool_norm

    def options(self, stride: int) -> dict[str, Callable[[], nn.Module]]:
        """Return the operations by name, as functions that make them."""
        pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        return {
            "none": NoConnection,
            "max_pool_3x3": lambda: self._pool(nn.MaxPool2d(3, stride, padding=1)),
            "avg_pool_3x3": lambda: self._pool(pool),
            "skip_connect": lambda: self._skip(stride),
            "sep_conv_3x3": lambda: self._dropped(self._conv(3, stride), self._conv(3, 1)),
            "sep_conv_5x5": lambda: self._dropped(self._conv(5, stride), self._conv(5, 1)),
            "dil_conv_3x3": lambda: self._dropped(self._conv(3, stride, dilation=2)),
            "dil_conv_5x5": lambda: self._dropped(self._conv(5, stride, dilation=2)),
        }

    def _norm(self) -> nn.Module:
        return batch_norm(self.width, searching=self.searching, option=True)

    def _dropped(self, *layers: nn.Module) -> nn.Module:
        drop = [drop_path(self._drop_rate)] if self._drop_rate > 0 else []
        return nn.Sequential(*layers, *drop)

    def _pool(self, pool: nn.Module) -> nn.Module:
        return self._dropped(pool, *([self._norm()] if self._pool_norm else []))

    def _skip(self, stride: int) -> nn.Module:
        if stride == 1:
            return nn.Identity()
        width = self.width
        return self._dropped(FactorizedReduce(width, width, searching=self.searching, option=True))

    def _conv(self, kernel: int, stride: int, dilation: int = 1) -> nn.Module:
        """Return ReLU, depthwise and 1x1 convolution, BatchNorm."""
        width = self.width
        padding = dilation * (kernel // 2)
        return nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, kernel, stride, padding, dilation, width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            self._norm(),
        )


def _relu_conv_bn(in_width: int, out_width: int, searching: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_width, out_width, 1, bias=False),
        batch_norm(out_width, searching=searching),
    )


def _stems(stem: str, in_width: int, channels: int, searching: bool) -> tuple[nn.Module, nn.Module]:
    """Return what makes the first cell's first input, and what makes the second of it."""
    if stem == "cifar":
        return conv_bn(in_width, 3 * channels, 3, searching=searching), nn.Identity()
    half = channels // 2
    first = nn.Sequential(
        conv_bn(in_width, half, 3, stride=2, activation=nn.ReLU, searching=searching),
        conv_bn(half, channels, 3, stride=2, searching=searching),
    )
    second = nn.Sequential(nn.ReLU(), conv_bn(channels, channels, 3, stride=2, searching=searching))
    return first, second


def _auxiliary_head(
    width: int, num_classes: int, stem: str, input_shape: Sequence[int], searching: bool
) -> nn.Module:
    """Return the second classifier; the pooling leaves 2x2 of 8x8 or, for ImageNet, of 7x7."""
    size = input_shape[-1] // (32 if stem == "imagenet" else 4)
    stride = 2 if stem == "imagenet" else max(1, size - 5)
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride, count_include_pad=False),
        conv_bn(width, 128, 1, activation=nn.ReLU, searching=searching),
        nn.Conv2d(128, 768, 2, bias=False),
        batch_norm(768, searching=searching),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )


def input_rules(options: Mapping[str, Any]) -> list[Rule]:
    """Return, for each node of both cells, that exactly two of its edges are something."""
    return [
        Rule(
            {
                (f"{cell}.{node}<-{source}", operation): 1.0
                for source in range(node)
                for operation in OPERATIONS
                if operation != "none"
            },
            says=f"node {node} of the {cell} cell has exactly two inputs",
            lower=2.0,
            upper=2.0,
            final=True,
        )
        for cell in CELLS
        for node in NODES
    ]


def format_genotype(architecture: Mapping[str, str]) -> str:
    """Return the authors' text; nested where a node has not two inputs."""
    parts = []
    for cell in CELLS:
        nodes = [
            [
                (architecture[f"{cell}.{node}<-{source}"], source)
                for source in range(node)
                if architecture[f"{cell}.{node}<-{source}"] != "none"
            ]
            for node in NODES
        ]
        flat = all(len(inputs) == 2 for inputs in nodes)
        edges: list[Any] = list(itertools.chain(*nodes)) if flat else nodes
        parts.append(f"{cell}={edges}, {cell}_concat=range(2, 6)")
    return f"Genotype({', '.join(parts)})"


def parse_genotype(text: str) -> dict[str, str]:
    """Return the choices in a genotype; :class:`ArchitectureError` when it is none."""
    choices = {f"{cell}.{i}<-{j}": "none" for cell in CELLS for i, j in EDGES}
    for cell in CELLS:
        found = re.search(rf"\b{cell}\s*=\s*(\[.*?\])\s*(?:,\s*\w+\s*=|\))", text, re.DOTALL)
        for node, inputs in zip(NODES, _nodes(found.group(1) if found else "", text), strict=True):
            for operation, source in inputs:
                name = f"{cell}.{node}<-{source}"
                if choices.get(name) != "none":
                    raise ArchitectureError(
                        f"node {node} of the {cell} cell has input {source}"
                        + (" twice" if name in choices else f"; possible are 0 to {node - 1}")
                    )
                choices[name] = operation
    return choices


def _nodes(edges: str, text: str) -> list[list[tuple[str, int]]]:
    """Return the (operation, source) of each node's inputs, of a flat or a nested list."""
    try:
        value = ast.literal_eval(edges)
        if all(isinstance(item, tuple) for item in value):
            value = [value[i : i + 2] for i in range(0, len(value), 2)]
        nodes = [[(str(op), operator.index(source)) for op, source in node] for node in value]
    except (ValueError, SyntaxError, TypeError):
        nodes = []
    if len(nodes) != len(NODES):
        raise ArchitectureError(
            f"cannot read the genotype {text!r}; the form is \"Genotype(normal=[('sep_conv_3x3', "
            f'0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))" '
            f"with two inputs for each of four nodes"
        )
    return nodes


SPACE = functools.partial(
    SearchSpace,
    network,
    text=(format_genotype, parse_genotype),
    rules=input_rules,
    final_options={"channels": 36, "cells": 20, "drop_path": 0.2},
)
