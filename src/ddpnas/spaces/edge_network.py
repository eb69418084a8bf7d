"""The network of the space ``edge``: stem, stages of blocks, classifier, and the blocks.

Block types, of which the first of a stage changes width and resolution:

* ``residual``: two 3x3 convolutions (He et al., CVPR 2016, arXiv 1512.03385)
* ``conv``: one 3x3 convolution, then residual blocks; ``pool``: the same, where a max-pooling
  before the convolution lowers the resolution instead of its stride. Having few layers, these
  train fast, as in David Page's ResNet-9 ("How to train your ResNet", 2018)
* ``inverted``: 1x1, depthwise, 1x1 (Sandler et al., MobileNetV2, CVPR 2018, arXiv 1801.04381)
* ``fused``: one whole convolution for the first two of these (Tan and Le, EfficientNetV2, ICML
  2021, arXiv 2104.00298)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated

from torch import Tensor, nn

from ddpnas.errors import SpaceError
from ddpnas.space.choose import Choose
from ddpnas.space.layers import SqueezeExcite, conv_bn
from ddpnas.space.widths import Width
from ddpnas.utils.settings import Count, Pixels
from ddpnas.utils.shapes import Range

__all__ = ["DEPTHS", "Block", "network"]

DEPTHS = (1, 2, 3)


class Block(nn.Module):
    """A block of any type: its layers, and a shortcut that keeps or changes the shape.

    Args:
        body: Layers without activation at the end.
        shortcut: Layers whose output is added to that of the body; None if there is no shortcut.
        last: Activation of the sum.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None, last: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width of the stage, height, width) of the stage's resolution."""
        y: Tensor = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.last(y)  # type: ignore[no-any-return]


class _Stage:
    """Makes the blocks of a stage.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        name: Name of the stage.
        widths: Widths to choose from.
        expansions: Expansions to choose from.
        stride: Stride of its first block.
    """

    def __init__(
        self,
        choose: Choose,
        name: str,
        widths: Sequence[int],
        expansions: Sequence[int],
        stride: int,
    ) -> None:
        self._choose, self._name, self._expansions = choose, name, tuple(expansions)
        self._stride = stride
        self.width = choose.width(f"{name}.width", tuple(widths))

    def block(self, given: int, first: bool) -> nn.Module:
        """Return a block of any type.

        Args:
            given: Channels of its input.
            first: Whether it is the first of the stage, which may change width and resolution.
        """
        stride = self._stride if first else 1
        pool = {"pool": lambda: self._plain(given, stride, first, pool=True)}
        return self._choose(
            f"{self._name}.block",
            {
                "residual": lambda: self._residual(given, stride, first),
                "conv": lambda: self._plain(given, stride, first),
                **(pool if self._stride > 1 else {}),  # the same as "conv" otherwise
                "inverted": lambda: self._inverted(given, stride, first, fused=False),
                "fused": lambda: self._inverted(given, stride, first, fused=True),
            },
        )

    def _plain(self, given: int, stride: int, first: bool, *, pool: bool = False) -> nn.Module:
        if not first:
            return self._residual(given, stride, first)
        if not pool:
            return self._conv(given, self.width, 3, stride, nn.ReLU)
        return nn.Sequential(_lower(stride), self._conv(given, self.width, 3, 1, nn.ReLU))

    def _residual(self, given: int, stride: int, first: bool) -> nn.Module:
        out = self.width
        body = nn.Sequential(
            self._conv(given, out, 3, stride, nn.ReLU), self._conv(out, out, 3), self._excite(out)
        )
        shortcut = self._conv(given, out, 1, stride) if first else nn.Identity()
        return Block(body, shortcut, nn.ReLU())

    def _inverted(self, given: int, stride: int, first: bool, *, fused: bool) -> nn.Module:
        hidden = given * self._choose.width(f"{self._name}.expansion", self._expansions)

        def wide(kernel: int) -> Callable[[], nn.Module]:
            if fused:
                return lambda: self._conv(given, hidden, kernel, stride, nn.ReLU)
            return lambda: self._conv(hidden, hidden, kernel, stride, nn.ReLU, groups=hidden)

        layers = [] if fused else [self._conv(given, hidden, 1, 1, nn.ReLU)]
        layers.append(self._choose(f"{self._name}.kernel", {"3": wide(3), "5": wide(5)}))
        layers += [self._excite(hidden), self._conv(hidden, self.width, 1)]
        return Block(nn.Sequential(*layers), None if first else nn.Identity(), nn.Identity())

    def _excite(self, width: Width) -> nn.Module:
        squeezed = width.map(lambda n: max(4, n // 8))
        gate = functools.partial(SqueezeExcite, width, squeezed, nn.ReLU, nn.Hardsigmoid)
        return self._choose(f"{self._name}.se", {"none": nn.Identity, "se": gate})

    def _conv(
        self,
        given: int,
        out: int,
        kernel: int,
        stride: int = 1,
        activation: Callable[[], nn.Module] | None = None,
        groups: int = 1,
    ) -> nn.Module:
        return conv_bn(
            given, out, kernel, stride=stride, groups=groups, activation=activation,
            searching=self._choose.searching, option=True,
        )  # fmt: skip


def network(
    choose: Choose,
    *,
    stem_stride: Annotated[int, Range(1, 64)] = 1,
    stem: Sequence[Count] = (8, 12, 16, 24, 32),
    stages: Sequence[Sequence[Count]] = (
        (8, 12, 16, 20, 24, 32),
        (16, 24, 32, 40, 48, 64),
        (32, 48, 64, 80, 96, 128),
    ),
    depths: Sequence[Count] = DEPTHS,
    expansions: Sequence[Count] = (1, 2, 3, 4, 6),
    head: Sequence[Count] = (64, 128, 192, 256),
    num_classes: Count = 10,
    input_shape: Sequence[Pixels] = (3, 32, 32),
) -> nn.Module:
    """Return stem, stages and classifier.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        stem_stride: Stride of the first convolution.
        stem: Widths of the first convolution to choose from.
        stages: For each stage, widths to choose from. Every stage but the first halves the
            resolution.
        depths: Numbers of blocks of a stage to choose from.
        expansions: Expansions to choose from.
        head: Widths of the convolution before the classifier to choose from.
        num_classes: Outputs of the classifier, (N, num_classes).
        input_shape: Shape of an image, (channels, height, width).
    """  # fmt: skip
    if not depths:
        raise SpaceError("depths must name at least one number of blocks, such as (1, 2, 3)")
    given = choose.width("stem", tuple(stem))
    layers: list[nn.Module] = [_stem(choose, input_shape[0], given, stem_stride)]
    for number, widths in enumerate(stages):
        name = f"s{number + 1}"
        stage = _Stage(choose, name, widths, expansions, 2 if number else 1)
        layers.append(stage.block(given, first=True))
        for position in range(1, max(depths)):
            # A block of several depths is one module: a deeper network shares its first blocks.
            once = functools.cache(functools.partial(stage.block, stage.width, first=False))
            options = {str(d): once if d > position else nn.Identity for d in depths}
            layers.append(choose(f"{name}.depth", options))
        given = stage.width

    def classifier(width: int) -> list[nn.Module]:
        average = functools.partial(nn.AdaptiveAvgPool2d, 1)
        pool = choose(
            "head.pool", {"avg": average, "max": functools.partial(nn.AdaptiveMaxPool2d, 1)}
        )
        return [pool, nn.Flatten(), nn.Linear(width, num_classes)]

    def with_head() -> nn.Module:
        width = choose.width("head.width", tuple(head))
        searching = choose.searching
        last = conv_bn(given, width, 1, activation=nn.ReLU, searching=searching, option=True)
        return nn.Sequential(last, *classifier(width))

    heads = {"none": lambda: nn.Sequential(*classifier(given)), "conv": with_head}
    return nn.Sequential(*layers, choose("head", heads))


def _stem(choose: Choose, channels: int, width: int, stride: int) -> nn.Module:
    """Return the first convolution, with whatever lowers the resolution by the stride."""

    def conv(stride: int, *, option: bool) -> nn.Module:
        return conv_bn(
            channels, width, 3, stride=stride, activation=nn.ReLU, searching=choose.searching,
            option=option,
        )  # fmt: skip

    if stride == 1:
        return conv(1, option=False)
    return choose(
        "stem.down",
        {
            "stride": lambda: conv(stride, option=True),
            "pool": lambda: nn.Sequential(conv(1, option=True), _lower(stride)),
        },
    )


def _lower(stride: int) -> nn.Module:
    """Return a max-pooling that has an output of the shape of a convolution of this stride."""
    return nn.MaxPool2d(stride, ceil_mode=True)
