"""Chart: lines, points, bands and axes as SVG text, colored by the style sheet of the page.

A series has a number, not a color. The style sheet gives each number a color for light and for
dark screens. Every series also has its own mark, so that no information depends on color alone.
Text that comes from outside is escaped here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape

from ddpnas.utils.text_width import text_width

__all__ = [
    "MARKS",
    "Axis",
    "Chart",
    "mark_shape",
    "shade",
    "svg_image",
    "ticks",
]

MARKS = ("circle", "square", "triangle", "diamond", "cross", "ring")
_WIDTH = 450
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 14, 44


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within a range, about ``most`` of them.

    Example:
        >>> ticks(0, 97)
        [0.0, 20.0, 40.0, 60.0, 80.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if power * m >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class Axis:
    """A range of numbers with a heading and ticks.

    Args:
        label: Heading, with the unit.
        low, high: Ends of the range; a range of one value is widened.
        write: Makes the text of a tick.
        whole: Whether only whole numbers get a tick.
        pad: Fraction of the range to add at both ends.
        most: About how many ticks to draw.
    """

    def __init__(
        self,
        label: str,
        low: float,
        high: float,
        write: Callable[[float], str] = "{:g}".format,
        *,
        whole: bool = False,
        pad: float = 0.0,
        most: int = 6,
    ) -> None:
        if not high > low:
            middle = 0.5 * abs(low) or 0.5
            low, high = low - middle, high + middle
        extra = pad * (high - low)
        self.label = label
        self.low, self.high = low - extra, high + extra
        self.ticks = ticks(self.low, self.high, most)
        if whole:
            self.ticks = [t for t in self.ticks if t == int(t)]
        self.write = write

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def svg_image(
    width: float, height: float, body: str, title: str, description: str, kind: str = "chart"
) -> str:
    """Return an SVG image with a title and a description for screen readers."""
    return (
        f'<svg class="{kind}" style="--w:{width:.0f}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{body}</svg>"
    )


class Chart:
    """A plot. Draw its parts in order, from back to front; :meth:`text` returns the SVG.

    Example:
        >>> chart = Chart("Loss", "It falls.", Axis("epoch", 0, 2), Axis("", 0, 1))
        >>> chart.line([(0, 1.0), (2, 0.5)], series=1)
        >>> chart.text()[:18]
        '<svg class="chart"'

    Args:
        title: What the chart shows.
        description: What it shows in words, for those who do not see it.
        x, y: The axes.
        width, height: Size in pixels.
        left: Pixels to the left of the plot, for the texts of the vertical axis.
    """

    def __init__(
        self,
        title: str,
        description: str,
        x: Axis,
        y: Axis,
        *,
        width: int = _WIDTH,
        height: int = 300,
        left: int = _LEFT,
    ) -> None:
        self._title, self._description = title, description
        self._x_axis, self._y_axis = x, y
        self._width, self._height, self._left = width, height, left
        self._body: list[str] = []

    def x(self, value: float) -> float:
        """Return the horizontal position of a value in pixels."""
        return self._left + self._x_axis.share(value) * (self._width - self._left - _RIGHT)

    def y(self, value: float) -> float:
        """Return the vertical position of a value in pixels."""
        return _TOP + (1 - self._y_axis.share(value)) * (self._height - _TOP - _BOTTOM)

    def band(self, start: float, end: float, label: str, *, shaded: bool) -> None:
        """Mark a part of the horizontal axis, with a label at the top."""
        left, right = self.x(start), self.x(end)
        if right - left < text_width(label):  # too narrow for more than the last word, or for that
            label = label.rpartition(" ")[2]
            label = label if right - left >= text_width(label) else ""
        self._body.append(
            f'<rect class="band{" shaded" if shaded else ""}" x="{left:.1f}" y="{_TOP}" '
            f'width="{right - left:.1f}" height="{self._height - _TOP - _BOTTOM}"/>'
            f'<text class="small" x="{(left + right) / 2:.1f}" y="{_TOP + 12}" '
            f'text-anchor="middle">{escape(label)}</text>'
        )

    def line(
        self, points: Sequence[tuple[float, float]], series: int, *, dashed: bool = False
    ) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in points)
        dash = " dashed" if dashed else ""
        self._body.append(f'<polyline class="line s{series}{dash}" points="{path}"/>')

    def steps(self, points: Sequence[tuple[float, float]], series: int) -> None:
        """Draw a step function: the height changes at each point."""
        corners = [points[0]]
        for (_, before), (x, y) in itertools.pairwise(points):
            corners += [(x, before), (x, y)]
        self.line(corners, series)

    def area(self, points: Sequence[tuple[float, float, float]], series: int) -> None:
        """Fill the area between two heights, given as (x, low, high)."""
        there = [f"{self.x(x):.1f},{self.y(high):.1f}" for x, _, high in points]
        back = [f"{self.x(x):.1f},{self.y(low):.1f}" for x, low, _ in reversed(points)]
        self._body.append(f'<polygon class="area s{series}" points="{" ".join(there + back)}"/>')

    def dot(
        self, x: float, y: float, series: int, title: str, *, mark: str = "circle", size: float = 4
    ) -> None:
        """Draw a point whose title appears when the pointer rests on it."""
        self._body.append(
            f'<g class="dot s{series}" transform="translate({self.x(x):.1f} {self.y(y):.1f})">'
            f"<title>{escape(title)}</title>{mark_shape(mark, size)}</g>"
        )

    def interval(self, low: float, high: float, y: float, series: int) -> None:
        """Draw a horizontal line from ``low`` to ``high``."""
        at = self.y(y)
        self._body.append(
            f'<path class="line s{series}" d="M{self.x(low):.1f} {at:.1f}H{self.x(high):.1f}"/>'
        )

    def upright(self, x: float, label: str) -> None:
        """Draw a vertical line through the chart, with a label at the bottom."""
        at = self.x(x)
        left = at > self._width - 120
        anchor, aside = ("end", -5) if left else ("start", 5)
        self._body.append(
            f'<path class="rule" d="M{at:.1f} {_TOP}V{self._height - _BOTTOM}"/>'
            f'<text class="small strong" x="{at + aside:.1f}" y="{self._height - _BOTTOM - 7}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )

    def _axes(self, y_names: Sequence[tuple[float, str]]) -> str:
        floor = self._height - _BOTTOM
        parts = []
        for value, text in y_names:
            at = self.y(value)
            parts.append(
                f'<path class="grid" d="M{self._left} {at:.1f}H{self._width - _RIGHT}"/>'
                f'<text class="tick" x="{self._left - 7}" y="{at + 4:.1f}" '
                f'text-anchor="end">{escape(text)}</text>'
            )
        for value in self._x_axis.ticks:
            at = self.x(value)
            parts.append(
                f'<path class="tickmark" d="M{at:.1f} {floor}v4"/>'
                f'<text class="tick" x="{at:.1f}" y="{floor + 17}" text-anchor="middle">'
                f"{escape(self._x_axis.write(value))}</text>"
            )
        parts.append(
            f'<path class="axis" d="M{self._left} {floor}H{self._width - _RIGHT}"/>'
            f'<text class="name" x="{(self._left + self._width - _RIGHT) / 2:.1f}" '
            f'y="{self._height - 6}" text-anchor="middle">{escape(self._x_axis.label)}</text>'
        )
        return "".join(parts)

    def text(self, y_names: Sequence[tuple[float, str]] | None = None) -> str:
        """Return the SVG text.

        Args:
            y_names: Pairs of (height, text) to show on the vertical axis instead of its ticks.
        """
        names = y_names or [(tick, self._y_axis.write(tick)) for tick in self._y_axis.ticks]
        body = "".join(self._body)
        return svg_image(
            self._width, self._height, self._axes(names) + body, self._title, self._description
        )


def shade(probability: float) -> float:
    """Return the opacity for a probability, spread so that small ones remain distinguishable."""
    return float(probability**0.6)


def mark_shape(mark: str, size: float) -> str:
    """Return the SVG element of a mark centered at (0, 0)."""
    if mark == "square":
        return f'<rect x="{-size:g}" y="{-size:g}" width="{2 * size:g}" height="{2 * size:g}"/>'
    if mark == "triangle":
        return f'<path d="M0 {-1.2 * size:g}L{1.2 * size:g} {size:g}H{-1.2 * size:g}z"/>'
    if mark == "diamond":
        far = 1.35 * size
        return f'<path d="M0 {-far:g}L{far:g} 0L0 {far:g}L{-far:g} 0z"/>'
    if mark == "cross":
        side = f"{2 * size:g}"
        there = f"M{-size:g} {-size:g}l{side} {side}m0 -{side}l-{side} {side}"
        return f'<path class="stroke" d="{there}"/>'
    if mark == "ring":
        return f'<circle class="stroke" r="{size:g}"/>'
    return f'<circle r="{size:g}"/>'
