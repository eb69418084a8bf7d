"""Charts that several sections draw: curves by epoch, and accuracy against a cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddpnas.generation.limits import amount
from ddpnas.report.blocks import percent, short_amount
from ddpnas.report.svg import Axis, Chart
from ddpnas.runs.run import Run

__all__ = [
    "CostPoint",
    "Curve",
    "accuracy_by_cost",
    "axis_text",
    "curves_by_epoch",
    "whole_percent",
]

_MOST_MARKED = 100  # epochs; the points of longer curves are too dense to carry marks
_SIZE = {"width": 350, "height": 260}


@dataclass(frozen=True)
class Curve:
    """A value by epoch.

    Attributes:
        label: Name of the network or run.
        series: Number of its color.
        mark: Mark of its points, one of :data:`ddpnas.report.svg.MARKS`.
        points: Pairs of (epoch, value).
    """

    label: str
    series: int
    mark: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class CostPoint:
    """A network by its cost and accuracy, with the color and mark of its series."""

    label: str
    series: int
    mark: str
    cost: float
    accuracy: float
    size: float


def axis_text(run: Run) -> Callable[[float], str]:
    """Return what writes the ticks of an axis of :attr:`ddpnas.runs.Run.measures`."""
    return whole_percent if run.has_accuracies else "{:g}".format


def whole_percent(fraction: float) -> str:
    """Return a fraction as a percentage without decimals, for the ticks of an axis.

    Example:
        >>> whole_percent(0.5)
        '50 %'
    """
    return f"{100 * fraction:.0f} %"


def curves_by_epoch(title: str, curves: Sequence[Curve], write: Callable[[float], str]) -> str:
    """Return the SVG of curves over the epochs of trainings.

    Args:
        title: What the curves show.
        curves: At least one curve; the first is drawn on top.
        write: Makes the text of a value.
    """
    values = [y for curve in curves for _, y in curve.points]
    epochs = [x for curve in curves for x, _ in curve.points]
    chart = Chart(
        title,
        f"{len(curves)} curves over up to {max(epochs):.0f} epochs.",
        Axis("epoch", min(epochs), max(epochs), whole=True),
        Axis("", min(values), max(values), whole_percent if write is percent else write, pad=0.05),
        **_SIZE,
    )
    for curve in reversed(curves):
        chart.line(curve.points, curve.series)
        size = 2.6 if len(curve.points) > 40 else 3.4
        for x, y in curve.points if len(curve.points) <= _MOST_MARKED else curve.points[-1:]:
            tip = f"{curve.label}, epoch {x:.0f}: {write(y)}"
            chart.dot(x, y, curve.series, tip, mark=curve.mark, size=size)
    return chart.text()


def accuracy_by_cost(
    title: str,
    description: str,
    unit: str,
    points: Sequence[CostPoint],
    limit: float | None = None,
) -> str:
    """Return the SVG of networks by cost and accuracy.

    Args:
        title: What the chart shows.
        description: What it shows in words, for those who do not see it.
        unit: Unit of the cost.
        points: At least one network; the first is drawn on top.
        limit: Upper limit of the cost, drawn as a line.
    """
    costs, accuracies = [p.cost for p in points], [p.accuracy for p in points]
    chart = Chart(
        title,
        description,
        Axis(unit, min(costs), max([*costs, limit or 0]), short_amount, pad=0.1, most=4),
        Axis("", min(accuracies), max(accuracies), lambda v: f"{100 * v:.1f} %", pad=0.2),
        **_SIZE,
    )
    if limit is not None:
        chart.upright(limit, "limit")
    for p in reversed(points):
        tip = f"{p.label}: {percent(p.accuracy)}, {amount(p.cost)} {unit}"
        chart.dot(p.cost, p.accuracy, p.series, tip, mark=p.mark, size=p.size)
    return chart.text()
