"""The section that answers: where did the time of the search go?"""

from __future__ import annotations

import math
from html import escape

from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, DataTable, Figure, Legend, Section, duration
from ddpnas.report.measures import time_spent
from ddpnas.report.svg import svg_image

__all__ = ["time_section"]


def time_section(view: View) -> Section | None:
    """Return the time of the search by activity."""
    run = view.run
    if not run.history:
        return None
    spent = time_spent(run)
    total = math.fsum(spent.values())
    if total <= 0:
        return None
    x, parts = 0.0, []
    for series, (name, seconds) in enumerate(spent.items(), start=1):
        width = 480 * seconds / total
        parts.append(
            f'<rect class="slice s{series}" x="{x:.2f}" y="0" width="{width:.2f}" height="26">'
            f"<title>{escape(name)}: {duration(seconds)}</title></rect>"
        )
        x += width
    said = ", ".join(f"{name} {100 * s / total:.0f} %" for name, s in spent.items())
    bar = svg_image(480, 26, "".join(parts), "Where the time went", said, "bar")
    legend = tuple(
        Legend(i, "block", f"{name} {100 * seconds / total:.1f} %")
        for i, (name, seconds) in enumerate(spent.items(), start=1)
    )
    table = DataTable(
        "time",
        "Time of the search by activity",
        (Column("activity"), Column("time", "seconds", "s"), Column("share", "percent")),
        tuple((name, seconds, seconds / total) for name, seconds in spent.items()),
        folded=True,
    )
    each = total / len(run.history)
    device = run.made_with.get("device", "an unknown device")
    words = (
        (
            f"The search took {duration(total)} on {device} for {len(run.history)} architectures, "
            f"{duration(each)} each."
        ),
    )
    return Section("time", "Where the time went", words, (Figure(bar, "", legend, table),))
