"""The section that answers: what do the limits cost, and what would a larger network give?"""

from __future__ import annotations

import math
import statistics

from ddpnas.errors import OptionError
from ddpnas.generation.best import Generated
from ddpnas.generation.limits import Limit, amount
from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Column,
    DataTable,
    Figure,
    Legend,
    Section,
    percent,
    short_amount,
)
from ddpnas.report.svg import Axis, Chart

__all__ = ["frontier_section"]


def frontier_section(view: View) -> Section | None:
    """Return the exact frontier of each cost, with the chosen network, random ones and limits."""
    if view.network is None or not view.costs:
        return None
    names = [name for name in view.costs if name in view.limits] or list(view.costs)[:1]
    further = [table.name for table in view.tables if table.name in view.costs]
    names += [name for name in further if name not in names]
    figures, failed = list[Figure](), dict[str, None]()
    for name in names:
        try:
            figures.append(_figure(view, name, alone=len(names) == 1))
        except OptionError as error:  # the other sections have their say all the same
            failed[f"There is {error}."] = None
    words = (
        "Each point on the line is provably the most probable network at its cost: no network "
        "lies above the line. Random networks lie far below because the search considers them "
        "worse. Only training shows whether they are."
    )
    said = (words, *failed) if figures else tuple(failed)
    return Section("frontier", "What the limits cost", said, tuple(figures))


def _figure(view: View, name: str, *, alone: bool) -> Figure:
    run = view.run
    assert view.network is not None
    unit = view.units[name]
    points = view.frontier(name)
    costs = [p.costs[name] for p in points]
    # A network with an option of probability 0 has no height.
    heights = [p.log_prob for p in points if math.isfinite(p.log_prob)] or [0.0]
    random = [p for p in view.random if math.isfinite(p.log_prob)]
    at = view.costs[name].cost(view.network.architecture)
    height = run.distribution.log_prob(view.network.architecture)
    # Random networks can be so improbable that the frontier would be a flat line at the top: the
    # axis then ends a bit below their median.
    usual = statistics.median([p.log_prob for p in random] or [min(heights)])
    lowest = max(min(heights), 1.5 * usual) if min(heights) < usual else min(usual, *heights)
    shown = [p for p in random if p.log_prob >= lowest]
    high = view.limits.get(name, Limit()).upper
    limited = math.isfinite(high)
    right = max([*costs, at, *(p.costs[name] for p in shown), high if limited else 0])
    chart = Chart(
        f"Probability against {name}",
        f"{len(points)} networks on the exact frontier, from {short_amount(costs[0])} to "
        f"{short_amount(costs[-1])} {unit}; chosen: {short_amount(at)}.",
        Axis(unit, min(costs), right, short_amount, pad=0.04, most=4),
        Axis("", lowest, max(heights), "{:g}".format, pad=0.06),
        width=450 if alone else 350,
        height=300 if alone else 270,
        left=46,
    )
    if limited:
        chart.upright(high, "limit")
    for p in shown:
        title = (
            f"random: {amount(p.costs[name])} {unit}, log probability {p.log_prob:.1f}, {p.text}"
        )
        chart.dot(p.costs[name], p.log_prob, 6, title, size=2.6)
    line = [(p.costs[name], p.log_prob) for p in points if p.log_prob >= lowest]
    if line:
        chart.steps([*line, (right, line[-1][1])], 1)
    for best in _thinned(points, 80):
        if best.log_prob >= lowest:
            title = f"{amount(best.costs[name])} {unit}, log probability {best.log_prob:.2f}"
            chart.dot(best.costs[name], best.log_prob, 1, title, size=2.4)
    legend = [
        Legend(1, "line", "frontier"),
        Legend(3, "diamond", "chosen"),
        Legend(6, "circle", "random"),
    ]
    trained = run.trained
    compared = (*trained.random, *trained.same_size) if trained is not None else ()
    drawn = [
        (n.costs[name], run.distribution.log_prob(n.architecture), n)
        for n in compared
        if n.architecture and name in n.costs
    ]
    drawn = [entry for entry in drawn if entry[1] >= lowest]
    for cost, log_prob, n in drawn:
        title = f"{n.name}: {percent(n.evaluation.accuracy)} when trained"
        chart.dot(cost, log_prob, 2, title, mark="triangle", size=4.5)
    if drawn:
        legend.append(Legend(2, "triangle", "random, trained"))
    if math.isfinite(height):
        chart.dot(at, height, 3, f"chosen: {amount(at)} {unit}", mark="diamond", size=6.5)
    hidden = len(view.random) - len(shown)
    caption = "Height: log probability of a network under the learned distribution."
    if hidden:
        caption += f" {hidden} of {len(view.random)} random networks lie below the chart."
    return Figure(chart.text(), caption, tuple(legend), _table(view, name, points))


def _thinned(points: list[Generated], most: int) -> list[Generated]:
    """Return at most ``most`` of the points, evenly spaced."""
    step = -(-len(points) // most)
    return points[::step]


def _table(view: View, name: str, points: list[Generated]) -> DataTable:
    text = (view.space or view.run.decision_space).format
    shown = _thinned(points, 500)
    caption = "The exact frontier" + ("" if len(shown) == len(points) else ", thinned")
    return DataTable(
        f"frontier_{name}",
        caption,
        (Column(name, "amount"), Column("log probability", "number"), Column("architecture")),
        tuple((p.costs[name], p.log_prob, text(p.architecture)) for p in shown),
        folded=True,
    )
