"""The section on a network that was cut: its accuracies, what could be traded, and its groups."""

from __future__ import annotations

import math
from pathlib import Path

from ddpnas.errors import OptionError, RunError
from ddpnas.report.blocks import (
    Block,
    Column,
    Commands,
    DataTable,
    Figure,
    Section,
    short_amount,
)
from ddpnas.report.commands import command, said_path
from ddpnas.report.svg import Axis, Chart
from ddpnas.shrinking.folder import SCORES, ShrinkFolder
from ddpnas.shrinking.width_scores import WidthScores
from ddpnas.training.results import Comparison
from ddpnas.utils.read import blaming

__all__ = ["shrinking_section"]


def shrinking_section(folder: Path, trained: Comparison) -> Section:
    """Return the section.

    Args:
        folder: Folder of the shrink.
        trained: The networks that were fine-tuned in it.
    """
    with ShrinkFolder.opened(folder) as (opened, _):
        before, losses = opened.accuracies(), opened.candidates()
    scores = WidthScores.read(folder)
    with blaming(folder / SCORES):
        losses = {scores.space.check(widths): loss for widths, loss in losses.items()}
        for name in ("given", *(one.name for one in trained.networks)):
            if name not in before:
                raise RunError(f"it holds no accuracy of {name!r} before fine-tuning")
    with blaming(trained.path / "architecture.json"):
        kept = scores.space.check(trained.found.architecture)
    accuracies = DataTable(
        "accuracies",
        "Accuracy as given, after cutting (BatchNorm recalibrated), and after fine-tuning",
        (
            Column("network"),
            Column("MACs", "amount"),
            Column("after cutting", "percent"),
            Column("after fine-tuning", "percent"),
        ),
        (
            ("as given", scores.whole.get("macs"), None, before["given"]),
            *(
                (
                    f"{one.name} widths",
                    one.costs.get("macs"),
                    before[one.name],
                    one.evaluation.accuracy,
                )
                for one in trained.networks
            ),
        ),
    )
    groups = DataTable(
        "groups",
        "Groups of channels that are cut together",
        (
            Column("channels made by"), Column("channels", "count"), Column("kept", "count"),
            Column("of the MACs", "percent"), Column("fixed by"),
        ),
        tuple(
            (
                group["name"],
                group["channels"],
                int(kept.get(group["name"], group["channels"])),
                group["share"],
                group["fixed"],
            )
            for group in scores.groups
        ),
    )  # fmt: skip
    objective = scores.sensitivity.rises
    candidates = DataTable(
        "candidates",
        "The networks that were scored as a whole, the best first: summed and measured rise",
        (
            Column("rise by the sum", "number"),
            Column("measured rise", "number"),
            *(Column(name, "amount") for name in scores.costs),
        ),
        tuple(
            (
                sum(objective[choice] for choice in widths.items()),
                loss - scores.sensitivity.loss,
                *(table.cost(widths) for table in scores.costs.values()),
            )
            for widths, loss in sorted(losses.items(), key=lambda one: (math.isnan(one[1]), one[1]))
        ),
        folded=True,
    )
    where = said_path(folder)
    commands = Commands(
        "Other limits need no new scores",
        (command("generate", where, "--limit", "macs=30%"), command("evaluate", where)),
    )
    words = "Uniform and random widths have about the same multiply-adds and were fine-tuned alike."
    said, figures = [words], list[Block]()
    try:
        figures.append(_frontier(scores))
    except OptionError as error:  # the tables have their say all the same
        said.append(f"There is {error}.")
    blocks: tuple[Block, ...] = (accuracies, *figures, groups, candidates, commands)
    return Section("shrinking", "Accuracy before and after", tuple(said), blocks)


def _frontier(scores: WidthScores) -> Figure:
    """Return the best networks at every count of multiply-adds, before fine-tuning."""
    found = scores.frontier()
    points = [(one.costs["macs"], abs(one.certificate.objective)) for one in found]
    most = max(rise for _, rise in points)
    chart = Chart(
        "Loss by multiply-adds",
        f"{len(points)} networks, each the best at its multiply-adds.",
        Axis("MACs", min(p[0] for p in points), max(p[0] for p in points), short_amount, most=4),
        Axis("", 0, max(most, 1e-6), lambda rise: f"{rise:.2g}", pad=0.05),
        width=350,
        height=260,
    )
    chart.line(points, 1)
    table = DataTable(
        "frontier",
        "The best widths at every cost, before fine-tuning",
        (
            *(Column(name, "amount") for name in scores.costs),
            Column("rise by the sum", "number"),
            Column("widths"),
        ),
        tuple(
            (
                *(one.costs[name] for name in scores.costs),
                abs(one.certificate.objective),
                ";".join(f"{group}={width}" for group, width in one.architecture.items()),
            )
            for one in found
        ),
        folded=True,
    )
    return Figure(chart.text(), "Rise of the loss before fine-tuning, by MACs", (), table)
