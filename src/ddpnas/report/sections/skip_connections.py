"""The section that answers: did the search fall for skip connections?"""

from __future__ import annotations

from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, DataTable, Figure, Legend, Section
from ddpnas.report.measures import SkipCount, SkipStage, skip_count, skip_stages
from ddpnas.report.svg import Axis, Chart

__all__ = ["skips_section"]


def skips_section(view: View) -> Section | None:
    """Return the skip connections during the search, compared with what chance would leave."""
    run = view.run
    stages = skip_stages(run)
    if not stages:
        return None
    words = [
        (
            "Searches with shared weights tend to favor skip connections: these have nothing to "
            "learn, so they look good early. Be suspicious of a search that keeps many more of "
            "them than chance would."
        ),
    ]
    if view.network is not None:
        words.append(_counted(skip_count(run.decision_space, view.network.architecture)))
    figures = (_figure(stages),) if len(stages) > 1 else ()
    return Section("skips", "Skip connections", tuple(words), figures)


def _counted(count: SkipCount) -> str:
    many = "more than 95 % of random networks have" if count.found > count.high else (
        "no more than chance would give"
    )  # fmt: skip
    return (
        f"The chosen network has {count.found} skip connection{'' if count.found == 1 else 's'}, "
        f"{many}. Of {count.draws:,} random networks, 90 % have {count.low:g} to {count.high:g}, "
        f"{count.mean:.1f} on average."
    )


def _figure(stages: list[SkipStage]) -> Figure:
    most, last = stages[0].decisions, stages[-1]
    chart = Chart(
        "Decisions whose skip connection survives",
        f"After {last.stage} stages, {last.surviving} of {most}; random pruning would leave "
        f"{last.by_chance:.1f}.",
        Axis("stage", 0, last.stage, "{:g}".format, whole=True),
        Axis("", 0, most, "{:g}".format, whole=True),
        height=230,
        left=40,
    )
    chart.area(
        [
            (s.stage, max(0, s.by_chance - 2 * s.spread), min(most, s.by_chance + 2 * s.spread))
            for s in stages
        ],
        6,
    )
    chart.line([(s.stage, s.by_chance) for s in stages], 6, dashed=True)
    chart.line([(s.stage, s.surviving) for s in stages], 1)
    for s in stages:
        title = f"stage {s.stage}: {s.surviving} of {most}, by chance {s.by_chance:.1f}"
        chart.dot(s.stage, s.surviving, 1, title)
    table = DataTable(
        "skips",
        "Skip connections after each stage",
        (
            Column("stage", "count"),
            Column("surviving", "count"),
            Column("by chance", "number"),
            Column("standard deviation", "number"),
            Column("expected in a network", "number"),
            Column("with equal probabilities", "number"),
        ),
        tuple((s.stage, s.surviving, s.by_chance, s.spread, s.expected, s.uniform) for s in stages),
        folded=True,
    )
    legend = (
        Legend(1, "circle", "this search"),
        Legend(6, "dashed", "random pruning, with two standard deviations"),
    )
    caption = "Number of decisions that still offer a skip connection."
    return Figure(chart.text(), caption, legend, table)
