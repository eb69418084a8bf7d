"""The section that answers: how did the search go, and did it improve?"""

from __future__ import annotations

import math

from ddpnas.evaluators.config import SupernetConfig
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, DataTable, Figure, Legend, Section
from ddpnas.report.charts import Curve, axis_text, curves_by_epoch
from ddpnas.report.measures import stage_means
from ddpnas.report.svg import Axis, Chart

__all__ = ["history_section"]

_MOST_DOTS = 1500


def history_section(view: View) -> Section | None:
    """Return the accuracy behind every score, or the score itself, stage by stage."""
    run = view.run
    if not run.history:
        return None
    figure = Figure(
        _chart(view),
        f"{run.judged_by.capitalize()} of each architecture, and the mean of each stage.",
        (Legend(1, "circle", "one architecture"), Legend(2, "line", "mean of the stage")),
        _table(view),
    )
    figures = (figure, _entropy(view)) if run.mixed else (figure,)
    words = _words(view)
    return Section("accuracy", "How the search went", (words,) if words else (), figures)


def _chart(view: View) -> str:
    """Return a dot for each score, over the stages and their means."""
    run, scores = view.run, view.run.measures
    finite = [s for s in scores if math.isfinite(s)] or [0.0]
    chart = Chart(
        f"{run.judged_by.capitalize()} of the scored architectures",
        f"{len(scores)} scores in order; from {run.written_measure(scores[0])} at the start to "
        f"a best of {run.written_measure(max(finite))}.",
        Axis("evaluations", 0, max(run.planned or 0, len(scores)), "{:g}".format, whole=True),
        Axis("", min(finite), max(finite), axis_text(run), pad=0.08),
        left=50,
    )
    stages = stage_means(run)
    for one in stages:
        chart.band(one.start, one.end, f"stage {one.stage + 1}", shaded=one.stage % 2 == 1)
    for one in stages:
        if math.isfinite(one.mean):
            chart.line([(one.start, one.mean), (one.end, one.mean)], 2)
    text = (view.space or run.decision_space).format
    step = -(-len(scores) // _MOST_DOTS)
    for i, record in list(enumerate(run.history))[::step]:
        if math.isfinite(scores[i]):
            title = f"{i + 1}: {run.written_measure(scores[i])}, {text(record['architecture'])}"
            chart.dot(i + 0.5, scores[i], 1, title)
    return chart.text()


def _table(view: View) -> DataTable:
    """Return a row for each score, with what the evaluator measured."""
    run, scores = view.run, view.run.measures
    text = (view.space or run.decision_space).format
    optional = (
        Column("score", "number"),
        Column("loss", "number"),
        Column("lr", "number"),
        Column("entropy", "number"),
        Column("temperature", "number"),
        Column("seconds", "seconds"),
    )
    # A column for what every record has: evaluators differ in what they measure.
    measured = [c for c in optional if all(c.name in record for record in run.history)]
    if [record["score"] for record in run.history] == scores:
        measured = [c for c in measured if c.name != "score"]
    return DataTable(
        "history",
        "Every score",
        (
            Column("evaluation", "count"),
            Column("stage", "count"),
            Column("accuracy", "percent") if run.has_accuracies else Column("score", "number"),
            *measured,
            Column("architecture"),
        ),
        tuple(
            (
                i + 1,
                record["stage"] + 1,
                scores[i],
                *(record[column.name] for column in measured),
                text(record["architecture"]),
            )
            for i, record in enumerate(run.history)
        ),
        folded=True,
    )


def _words(view: View) -> str:
    """Return which scores can be compared, where they come from shared weights; else nothing."""
    run = view.run
    if run.mixed:
        words = (
            "Each score is that of another network with further trained weights, so scores rise "
            "while the mixture learns. The mixture has settled where its entropy is low."
        )
        if any("classes" in record for record in run.history):
            words += (
                " Some scores are on a part of the classes, which is easier; only those on all "
                "classes count for the best."
            )
        return words
    if not run.shared:
        return ""
    if SupernetConfig(**run.config.evaluator_options).training == "path":
        return (
            "The shared weights keep learning during the search, which raises later scores. "
            "Compare scores within a stage, not across stages."
        )
    return (
        "All architectures were scored with the same shared weights, trained before the first "
        "score. Stages differ in which options were already pruned."
    )


def _entropy(view: View) -> Figure:
    """Return the entropy of a mixture after each epoch."""
    history = view.run.history
    points = [(i + 1, record["entropy"]) for i, record in enumerate(history)]
    drawn = curves_by_epoch(
        "Mean entropy of the decisions, in nats",
        [Curve("mixture", 1, "circle", points)],
        "{:.2f}".format,
    )
    first, last = history[0]["temperature"], history[-1]["temperature"]
    cooled = "" if first == last else f" The temperature went from {first:g} to {last:g}."
    return Figure(
        drawn,
        f"Mean entropy of the decisions after each epoch. It is 0 where one option of each has all "
        f"the weight.{cooled}",
    )
