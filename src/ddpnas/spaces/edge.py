"""Small image networks of any size: stages of residual and inverted blocks, widths included.

For images from 8 pixels up to photographs, and for limits from some 100,000 to some billions of
multiply-adds. The decisions belong to stages, not to blocks, so that a few dozen scores say much:

* ``stem``: width of the first convolution; ``stem.down``, whether its stride or a max-pooling
  behind it lowers the resolution
* for each stage ``s1``, ``s2``, ...: ``.width``; ``.depth``, the number of blocks; ``.block``,
  their type; ``.expansion`` and ``.kernel`` of blocks that have one; ``.se``, whether they have
  squeeze-and-excitation
* ``head``: whether a 1x1 convolution comes before the classifier, and ``head.width``, its width;
  ``head.pool``, whether the mean or the maximum over all pixels is classified

Block types, of which the first of a stage changes width and resolution:

* ``residual``: two 3x3 convolutions (He et al., CVPR 2016, arXiv 1512.03385)
* ``conv``: one 3x3 convolution, then residual blocks; ``pool``: the same, where a max-pooling
  before the convolution lowers the resolution instead of its stride. Having few layers, these
  train fast, as in David Page's ResNet-9 ("How to train your ResNet", 2018)
* ``inverted``: 1x1, depthwise, 1x1 (Sandler et al., MobileNetV2, CVPR 2018, arXiv 1801.04381)
* ``fused``: one whole convolution for the first two of these (Tan and Le, EfficientNetV2, ICML
  2021, arXiv 2104.00298)

Widths and resolutions follow from limits: ``create_space("edge", input_shape=(3, 32, 32),
num_classes=10, limits={"macs": "2M"})`` has networks on both sides of 2 M multiply-adds. Without
limits they follow from the images alone. Standard designs are members of the space:
``space.scaled("residual", {"macs": "2M"})``.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ddpnas.costs.network import count_network
from ddpnas.errors import InfeasibleError, OptionError, SpaceError, nearest
from ddpnas.generation.limits import Limit, Limits, parse_limits
from ddpnas.space.choose import BuildChoice, Choose
from ddpnas.space.decisions import Architecture
from ddpnas.space.layers import SqueezeExcite, conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.widths import Width
from ddpnas.utils.settings import Count, Pixels
from ddpnas.utils.shapes import Range

__all__ = ["DESIGNS", "SIZED_BY", "SPACE", "EdgeSpace", "network"]

SIZED_BY = ("macs", "params", "size_bytes", "activation_bytes", "peak_activation_bytes")
MACS_PER_PIXEL = 2_500  # of a network in the middle of a space that no limits size
DEPTHS = (1, 2, 3)
# Widths to choose from, relative to those of a network of the limit's size: the cost may be about a
# quarter of the limit or four times as much, whatever else is chosen.
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)

# Standard designs, the best at equal seconds first (records/fit.md). Widths double from stage to
# stage; that of the stem is relative to the first stage.
DESIGNS: dict[str, dict[str, Any]] = {
    "resnet-9": {
        "stem": 2 / 3, "stem.down": "pool", "head": "none", "head.pool": "max",
        "blocks": ["conv", *["pool"] * 4], "depths": [2, 1, 2, 1, 2], "expansion": 1, "se": "none",
    },
    "residual": {
        "stem": 1, "stem.down": "stride", "head": "none", "head.pool": "avg",
        "blocks": ["residual"] * 5, "depths": [1] * 5, "expansion": 1, "se": "none",
    },
    "mobilenet-v2": {
        "stem": 1, "stem.down": "stride", "head": "conv", "head.pool": "avg",
        "blocks": ["inverted"] * 5, "depths": [1, 2, 3, 3, 2], "expansion": 6, "se": "none",
    },
    "regnet": {
        "stem": 1, "stem.down": "stride", "head": "none", "head.pool": "avg",
        "blocks": ["inverted"] * 5, "depths": [1, 2, 3, 3, 1], "expansion": 2, "se": "se",
    },
}  # fmt: skip
_SIZES = frozenset({"stem_stride", "stem", "stages", "head"})  # options that follow from limits
_OF_A_STAGE = ("block", "width", "depth", "expansion", "kernel", "se")
_LEAST_WIDTH = 8  # channels of the first stage, below which a larger stride is better


class Block(nn.Module):
    """A block of any type: its layers, and a shortcut that keeps or changes the shape.

    Args:
        body: Layers without activation at the end.
        shortcut: What is added to their output; None adds nothing.
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


class EdgeSpace(SearchSpace):
    """The space of :func:`network`, with sizes that follow from limits.

    Args:
        network: The function.
        input_shape: Shape of an image, (channels, height, width).
        limits: Cost name -> limit, as for :func:`ddpnas.generate`; see :data:`SIZED_BY`. Stride of
            the stem, stages and widths follow from them. Without limits and sizes, they follow from
            the images: as within :data:`MACS_PER_PIXEL` multiply-adds for each pixel.
        options: See :class:`ddpnas.SearchSpace`.

    Raises:
        OptionError: A limit is of another cost, or sizes are given besides limits.
        SpaceError: The inputs are no images.

    Example:
        >>> from ddpnas import create_space
        >>> space = create_space("edge", input_shape=(1, 28, 28), limits={"macs": "2M"})
        >>> space.options["stem_stride"], space.options["stages"][0]
        (2, (4, 8, 12, 16, 20))
    """

    own_options = frozenset({"limits"})

    def __init__(
        self,
        network: Callable[..., nn.Module],
        input_shape: Sequence[int] | None = None,
        *,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.check_own_options({**options, "limits": limits})
        shape = tuple(input_shape or (3, 32, 32))
        if len(shape) != 3:
            raise SpaceError(
                f"space 'edge' takes images, (channels, height, width), not inputs of shape "
                f"{shape}; write a space for them (docs/own-space.md) and name it: --space "
                f"my_file.py:network"
            )
        if not _SIZES & options.keys():
            wanted = limits or {"macs": MACS_PER_PIXEL * math.prod(shape[1:])}
            classes = options.get("num_classes", 10)
            options |= _sizes(parse_limits(wanted), shape, classes)
        super().__init__(network, input_shape, **options)

    @classmethod
    def check_own_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse limits of costs that do not size the space, and sizes besides limits.

        Raises:
            OptionError: See above.
        """
        if limits := options.get("limits"):
            _known(parse_limits(limits))
            if given := sorted(_SIZES & options.keys()):
                raise OptionError(f"give limits or {', '.join(given)}, not both")

    def scaled(self, design: str, limits: Limits) -> Architecture:
        """Return a standard design, as wide as the limits allow.

        Widths double from stage to stage, as far as the space has them. The largest such network
        within the upper limits is taken, then single widths are raised while these hold.

        Args:
            design: One of :data:`DESIGNS`.
            limits: Cost name -> limit, as for :func:`ddpnas.generate`; see :data:`SIZED_BY`.

        Raises:
            InfeasibleError: Not even the narrowest network of the design is within the upper
                limits, or the widest one that is misses a lower limit.
            OptionError: The design is unknown, or a limit is of another cost.

        Example:
            >>> from ddpnas import count_network, create_space
            >>> space = create_space("edge", input_shape=(1, 28, 28), limits={"macs": "2M"})
            >>> found = space.scaled("residual", {"macs": "2M"})
            >>> 1.8e6 < count_network(space.build(found), (1, 28, 28))["macs"] <= 2e6
            True
        """
        if design not in DESIGNS:
            raise OptionError(nearest("design", design, DESIGNS))
        allowed = _known(parse_limits(limits))
        choices = self._design(design)
        sizes = {d.name: [int(option) for option in d.options] for d in self.decisions if d.ordered}
        scales = _scales(len(self._stages), DESIGNS[design]["stem"])
        scale = {name: base for name, base in scales.items() if name in sizes}

        def at(factor: float) -> dict[str, int]:
            """Return, for each scaled width, the position of the largest within the factor."""
            return {
                name: max(0, sum(size <= factor * base for size in sizes[name]) - 1)
                for name, base in scale.items()
            }

        def architecture(positions: Mapping[str, int]) -> Architecture:
            widths = {name: str(sizes[name][i]) for name, i in positions.items()}
            return self.canonical({**choices, **widths})

        def fits(positions: Mapping[str, int]) -> bool:
            with torch.device("meta"):
                built = self.build(architecture(positions))
            return _within(built, self.input_shape, allowed)

        if not fits(at(0)):
            raise InfeasibleError(
                f"no {design} network of space {self.name!r} is within "
                f"{', '.join(f'{name} {limit.describe()}' for name, limit in allowed.items())}; "
                f"make the space for these limits: create_space(..., limits=...)"
            )
        factors = sorted({size / base for name, base in scale.items() for size in sizes[name]})
        best = at(factors[bisect.bisect_left(factors, True, key=lambda f: not fits(at(f))) - 1])
        while True:  # raise the widths that are furthest behind, one step at a time
            behind = sorted(best, key=lambda name: sizes[name][best[name]] / scale[name])
            for name in behind:
                more = {**best, name: best[name] + 1}
                if more[name] < len(sizes[name]) and fits(more):
                    best = more
                    break
            else:
                break
        found = architecture(best)
        with torch.device("meta"):
            costs = count_network(self.build(found), self.input_shape)
        for name, limit in allowed.items():
            if costs[name] < limit.lower:
                raise InfeasibleError(
                    f"the widest {design} network of space {self.name!r} within the upper limits "
                    f"has {name} {costs[name]:,.0f}, which is not {limit.describe()}"
                )
        return found

    def outline(self, architecture: Mapping[str, str]) -> str:
        """Return an architecture in a few words: stem, stages with width and depth, head.

        Example:
            >>> from ddpnas import create_space
            >>> space = create_space("edge", limits={"macs": "10M"})
            >>> space.outline(space.scaled("mobilenet-v2", {"macs": "10M"}))
            'stem 8, 1 inverted x6 of 8, 2 inverted x6 of 16, 3 inverted x6 of 32, ...head 280'
        """
        parts = [f"stem {architecture['stem']}"]
        for number in range(1, len(self._stages) + 1):
            # Where stages have one depth, that is no decision.
            depth = {f"s{number}.depth": str(self.options["depths"][0])}
            chosen = {**depth, **architecture}
            made = {what: chosen[f"s{number}.{what}"] for what in _OF_A_STAGE}
            block = made["block"]
            if block != "residual":
                block += f" x{made['expansion']}" + (" 5x5" if made["kernel"] == "5" else "")
            block += " se" if made["se"] == "se" else ""
            parts.append(f"{made['depth']} {block} of {made['width']}")
        if architecture["head"] == "conv":
            parts.append(f"head {architecture['head.width']}")
        return ", ".join(parts)

    @property
    def _stages(self) -> Sequence[Sequence[int]]:
        return self.options["stages"]  # type: ignore[no-any-return]

    def _design(self, name: str) -> dict[str, str]:
        """Return the choices of a design, all widths at their smallest."""
        design = DESIGNS[name]
        choices = {d.name: d.options[0] for d in self.decisions}
        if "stem.down" in choices:
            choices["stem.down"] = design["stem.down"]
        choices["head.pool"] = design["head.pool"]
        alike = {"se": design["se"], "kernel": "3", "expansion": design["expansion"]}
        for number in range(1, len(self._stages) + 1):
            wanted = {"block": design["blocks"][number - 1], "depth": design["depths"][number - 1]}
            for what, value in {**wanted, **alike}.items():
                decision = self[f"s{number}.{what}"]
                if what in ("depth", "expansion"):  # the nearest that the space has
                    value = min(map(int, decision.options), key=lambda n: abs(n - value))
                choices[decision.name] = str(value)
        return {**choices, "head": design["head"]}


def _scales(stages: int, stem: float = 1) -> dict[str, float]:
    """Return widths relative to that of the first stage: they double from stage to stage."""
    widths = {f"s{number + 1}.width": 2**number for number in range(stages)}
    return {"stem": stem, **widths, "head.width": 4 * 2 ** (stages - 1)}


def _known(limits: Mapping[str, Limit]) -> dict[str, Limit]:
    for name in limits:
        if name not in SIZED_BY:
            raise OptionError(
                f"the space edge is sized by counted costs ({', '.join(SIZED_BY)}), not by {name}; "
                f"give that limit to generate()"
            )
    return dict(limits)


def _within(network: nn.Module, input_shape: Sequence[int], limits: Mapping[str, Limit]) -> bool:
    costs = count_network(network, input_shape)
    return all(costs[name] <= limit.upper for name, limit in limits.items())


def _sizes(
    limits: Mapping[str, Limit], input_shape: Sequence[int], num_classes: int
) -> dict[str, Any]:
    """Return options of :func:`network` such that limits lie well inside its costs.

    The resolution is halved until 4 to 7 pixels are left. A residual network of two blocks a
    stage, at the middle of all ranges, has the largest width within the limits. The stem has the
    smallest stride at which that is at least 8 channels in the first stage.

    Args:
        limits: Limits by cost. Of one that has no upper end, the lower one counts.
        input_shape: Shape of an image.
        num_classes: Outputs of the classifier.
    """
    wanted = {
        name: limit if limit.upper < math.inf else Limit(upper=limit.lower)
        for name, limit in _known(limits).items()
        if limit != Limit()
    }
    side = min(input_shape[1:])
    strides = [s for s in (1, 2, 4) if s == 1 or side >= 6 * s]
    for stride in strides:
        stages = min(5, max(2, math.ceil(math.log2(max(side / stride / 4, 1))) + 1))
        low, high = 2.0, 2048.0  # channels of the first stage
        while high / low > 1.03:
            width = math.sqrt(low * high)
            options = _options(width, stride, stages)
            chosen = {name: str(_rounded(width * n)) for name, n in _scales(stages).items()}
            chosen |= {"stem.down": "stride", "head.pool": "avg"}
            for number in range(1, stages + 1):
                chosen |= {f"s{number}.block": "residual", f"s{number}.depth": "2"}
                chosen |= {f"s{number}.se": "none"}
            with torch.device("meta"):
                medium = network(
                    BuildChoice({**chosen, "head": "none"}), num_classes=num_classes,
                    input_shape=input_shape, **options,
                )  # fmt: skip
            fits = _within(medium, input_shape, wanted)
            low, high = (width, high) if fits else (low, width)
        if low >= _LEAST_WIDTH or stride == strides[-1]:
            return _options(low, stride, stages)
    raise AssertionError("there is always a stride")


def _options(width: float, stride: int, stages: int) -> dict[str, Any]:
    """Return options of :func:`network` whose middle is a first stage of this width."""

    def around(middle: float, factors: Sequence[float]) -> tuple[int, ...]:
        return tuple(sorted({_rounded(middle * factor) for factor in factors}))

    return {
        "stem_stride": stride,
        "stem": around(width, FACTORS),
        "stages": tuple(around(width * 2**number, FACTORS) for number in range(stages)),
        "head": around(width * 4 * 2 ** (stages - 1), (0.5, 1.0, 2.0)),
    }


def _rounded(width: float) -> int:
    step = 8 if width >= 32 else 4
    return max(4, round(width / step) * step)


SPACE = functools.partial(EdgeSpace, network)
