"""The section that answers: which choices matter, and how sure is that?"""

from __future__ import annotations

from ddpnas.report.analysis import MOST_FITTED, View
from ddpnas.report.blocks import Column, DataTable, Figure, Legend, Section
from ddpnas.report.svg import Axis, Chart
from ddpnas.utils.text_width import fitted

__all__ = ["effects_section"]

_MOST_SHOWN = 30


def effects_section(view: View) -> Section | None:
    """Return the effect of each choice on accuracy or score, with its uncertainty."""
    found = view.effects
    if not found:
        return None
    measure, percents = view.run.judged_by, view.run.has_accuracies
    scale, unit = (100, " percentage points") if percents else (1, "")
    write = ("{:+.1f}" if percents else "{:+.3g}").format
    largest = sorted(found, key=lambda e: -abs(e.mean))[:_MOST_SHOWN]
    shown = [e for e in found if e in largest]
    reach = max(abs(e.mean) + 2 * e.spread for e in shown)
    best, worst = max(found, key=lambda e: e.mean), min(found, key=lambda e: e.mean)
    chart = Chart(
        f"Effect of the choices on {measure}",
        f"Largest gain: {best.option} at {best.decision}, {write(scale * best.mean)}{unit}; "
        f"largest loss: {worst.option} at {worst.decision}, {write(scale * worst.mean)}.",
        Axis(unit.strip() or measure, -scale * reach, scale * reach, _signed, pad=0.02),
        Axis("", 0, len(shown), most=1),
        height=66 + 17 * len(shown),
        left=180,
    )
    names = []
    chosen = None if view.network is None else view.network.architecture
    chart.upright(0, "")
    for i, effect in enumerate(shown):
        y = len(shown) - i - 0.5
        series = 1 if chosen is not None and chosen[effect.decision] == effect.option else 6
        low, high = (scale * (effect.mean + side * 2 * effect.spread) for side in (-1, 1))
        chart.interval(low, high, y, series)
        title = (
            f"{effect.decision} = {effect.option}: {scale * effect.mean:+.3g}{unit}, standard "
            f"deviation {scale * effect.spread:.2g}, seen {effect.count} times"
        )
        mark = "circle" if series == 1 else "ring"
        chart.dot(scale * effect.mean, y, series, title, mark=mark, size=3.6)
        names.append((y, fitted(f"{effect.decision} {effect.option}", 172)))
    table = DataTable(
        "effects",
        "The effect of every choice",
        (
            Column("decision"),
            Column("option"),
            Column(f"effect on {'accuracy' if percents else 'score'}", "signed"),
            Column("standard deviation", "number"),
            Column("seen", "count"),
        ),
        tuple((e.decision, e.option, e.mean, e.spread, e.count) for e in found),
        folded=True,
    )
    part = (
        f"the {len(shown)} largest of {len(found)} effects"
        if len(shown) < len(found)
        else "all choices"
    )
    words = (
        (
            f"The effect of a choice is the change of {measure} against the mean over all "
            f"options of its decision, while the other choices are random. All effects are fitted "
            "to all scores together. If an interval includes zero, the search has not shown that "
            "the choice matters."
        ),
    )
    caption = f"Mean and two standard deviations of {part}."
    if len(view.run.history) > MOST_FITTED:
        caption += f" Fitted to at most {MOST_FITTED} evenly spaced architectures."
    legend = [Legend(1, "circle", "chosen"), Legend(6, "ring", "not chosen")]
    figure = Figure(chart.text(names), caption, tuple(legend), table)
    return Section("effects", "What the choices are worth", words, (figure,))


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"
