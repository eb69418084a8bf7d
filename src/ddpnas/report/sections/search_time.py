"""The section that answers: where did the time of the search go?"""

from __future__ import annotations

from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, DataTable, Section
from ddpnas.report.measures import time_spent
from ddpnas.utils.duration import duration

__all__ = ["time_section"]


def time_section(view: View) -> Section | None:
    """Return the time of the search by activity."""
    run = view.run
    if run.seconds <= 0:
        return None
    table = DataTable(
        "time",
        "Time of the search by activity",
        (Column("activity"), Column("time", "seconds", "s"), Column("share", "percent")),
        tuple((name, spent, spent / run.seconds) for name, spent in time_spent(run).items()),
    )
    device = run.made_with.get("device", "an unknown device")
    words = (
        (
            f"The search took {duration(run.seconds)} on {device} for {len(run.history)} "
            f"architectures, {duration(run.seconds / len(run.history))} each."
        ),
    )
    return Section("time", "Where the time went", words, (table,))
