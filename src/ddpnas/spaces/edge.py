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
from typing import Any

import torch
from torch import nn

from ddpnas.costs.network import count_architecture, count_network
from ddpnas.errors import InfeasibleError, OptionError, SpaceError, nearest
from ddpnas.generation.limits import Limit, Limits, parse_limits
from ddpnas.space.choose import BuildChoice
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.edge_network import network

__all__ = ["DESIGNS", "SIZED_BY", "SPACE", "EdgeSpace"]

SIZED_BY = ("macs", "params", "size_bytes", "activation_bytes", "peak_activation_bytes")
MACS_PER_PIXEL = 2_500  # of a network in the middle of a space that no limits size
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
        shape = (3, 32, 32) if input_shape is None else tuple(input_shape)
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
            return _within(count_architecture(self, architecture(positions)), allowed)

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
        costs = count_architecture(self, found)
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
            at = min(number, len(design["blocks"])) - 1  # further stages are as the last one
            wanted = {"block": design["blocks"][at], "depth": design["depths"][at]}
            for what, value in {**wanted, **alike}.items():
                decision = f"s{number}.{what}"
                if decision not in choices:  # where stages have one depth
                    continue
                if what in ("depth", "expansion"):  # the nearest that the space has
                    sizes = map(int, self[decision].options)
                    value = min(sizes, key=lambda n: abs(n - value))
                choices[decision] = str(value)
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


def _within(costs: Mapping[str, int], limits: Mapping[str, Limit]) -> bool:
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
            fits = _within(count_network(medium, input_shape), wanted)
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
