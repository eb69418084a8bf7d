"""The section on training: networks trained alike, curves, accuracy by class, confusion."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Block,
    Column,
    Figure,
    Legend,
    Section,
    Table,
    amount,
    percent,
    short,
)
from ddpnas.report.svg import MARKS, Axis, Chart, picture
from ddpnas.training.results import Compared, Comparison

__all__ = ["training"]

_SPLITS = {"test": "test", "valid": "validation"}
_MOST_CLASSES = 100  # of a confusion matrix that is drawn


def training(view: View) -> Section | None:
    """Return the networks that were trained: figures, curves, accuracy by class, confusion."""
    trained = view.run.trained
    if trained is None:
        return None
    blocks: list[Block] = [_networks_table(view, trained)]
    if len(trained.networks) > 1 and (figure := _cost_figure(view, trained)) is not None:
        blocks.append(figure)
    blocks += _curves(trained)
    blocks.append(_per_class(trained))
    blocks.append(_confusion(trained.classes, trained.found))
    result = trained.found.result
    words = (
        (
            f"Recipe {result.recipe.name}, {result.recipe.epochs} epochs, seed "
            f"{result.seed}, the same for every network."
        ),
    )
    return Section("training", "Trained from scratch", words, tuple(blocks))


def _networks_table(view: View, trained: Comparison) -> Table:
    costs = list(trained.found.costs)
    return Table(
        "networks",
        "Networks trained alike",
        (
            Column("network"),
            Column("accuracy", "percent"),
            Column("split"),
            *(Column(name, "amount") for name in costs),
            Column("time", "seconds", "s"),
            Column("architecture"),
        ),
        tuple(
            (
                n.name,
                n.evaluation.accuracy,
                n.evaluation.split,
                *(n.costs.get(name) for name in costs),
                n.result.seconds,
                n.text or None,
            )
            for n in trained.networks
        ),
    )


def _series(trained: Comparison, network: Compared) -> tuple[int, str]:
    """Return number and mark of a series: found 1, random 6, same size 5, baselines 2 and on."""
    if network is trained.found:
        return 1, "diamond"
    if network in trained.random:
        return 6, "circle"
    if network in trained.same_size:
        return 5, "ring"
    at = trained.baselines.index(network)
    return 2 + at % 3, MARKS[1 + at % 4]


def _legend(trained: Comparison) -> tuple[Legend, ...]:
    entries = [Legend(1, "diamond", "found")]
    if trained.random:
        entries.append(Legend(6, "circle", "random"))
    if trained.same_size:
        entries.append(Legend(5, "ring", "random, same size"))
    entries += [Legend(*_series(trained, n), n.name) for n in trained.baselines]
    return tuple(entries)


def _cost_figure(view: View, trained: Comparison) -> Figure | None:
    names = [n for n in (*view.run.limits, *trained.found.costs) if n in trained.found.costs]
    if not names:
        return None
    name = names[0]
    points = [
        (n.costs[name], n.evaluation.accuracy, n) for n in trained.networks if name in n.costs
    ]
    costs, accuracies = [p[0] for p in points], [p[1] for p in points]
    high = view.run.limits.get(name, Limit()).upper
    limited = math.isfinite(high)
    right = max([*costs, high if limited else 0])
    chart = Chart(
        f"Accuracy against {name}",
        f"{len(points)} networks; found: {percent(trained.found.evaluation.accuracy)} at "
        f"{amount(trained.found.costs[name])} {view.units.get(name, name)}.",
        Axis(view.units.get(name, name), min(costs), right, amount, pad=0.1, most=4),
        Axis("", min(accuracies), max(accuracies), lambda v: f"{100 * v:.1f} %", pad=0.2),
        width=350,
        height=260,
    )
    if limited:
        chart.upright(high, "limit")
    for cost, accuracy, n in sorted(points, key=lambda p: p[2] is trained.found):
        series, mark = _series(trained, n)
        title = f"{n.name}: {percent(accuracy)}, {cost:,.0f} {view.units.get(name, name)}"
        chart.dot(cost, accuracy, series, title, mark=mark, size=5.5)
    split = _SPLITS[trained.found.evaluation.split]
    caption = f"{split.capitalize()} accuracy of each network by its cost."
    return Figure(chart.text(), caption, _legend(trained))


def _curves(trained: Comparison) -> list[Figure]:
    figures = []
    known = {
        "loss": "Training loss",
        "valid_accuracy": "Validation accuracy",
    }
    first = True
    for key, title in known.items():
        curves = [(n, [(r["epoch"], r[key]) for r in n.result.history if r.get(key) is not None])
                  for n in trained.networks]  # fmt: skip
        curves = [(n, points) for n, points in curves if points]
        if not curves:
            continue
        values = [y for _, points in curves for _, y in points]
        epochs = [x for _, points in curves for x, _ in points]
        write = "{:g}".format if key == "loss" else (lambda v: f"{100 * v:.0f} %")
        chart = Chart(
            f"{title} by epoch",
            f"{len(curves)} networks over {max(epochs):.0f} epochs.",
            Axis("epoch", min(epochs), max(epochs), whole=True),
            Axis("", min(values), max(values), write, pad=0.05),
            width=350,
            height=250,
            left=50,
        )
        for n, points in reversed(curves):
            series, mark = _series(trained, n)
            chart.line(points, series)
            size = 2.6 if len(points) > 40 else 3.4
            for x, y in points if len(points) <= 100 else points[-1:]:
                said = f"{y:.4f}" if key == "loss" else percent(y)
                chart.dot(x, y, series, f"{n.name}, epoch {x:.0f}: {said}", mark=mark, size=size)
        table = None
        if first:
            table = _history_table(trained)
            first = False
        figures.append(Figure(chart.text(), f"{title} of each network.", _legend(trained), table))
    return figures


def _history_table(trained: Comparison) -> Table:
    keys = list(dict.fromkeys(k for n in trained.networks for r in n.result.history for k in r))
    keys = [k for k in keys if k != "epoch"]
    kinds = {"seconds": "seconds"}
    return Table(
        "curves",
        "Every epoch",
        (
            Column("network"),
            Column("epoch", "count"),
            *(Column(k.replace("_", " "),
                     kinds.get(k, "percent" if k.endswith("accuracy") else "number"))  # type: ignore[arg-type]
              for k in keys),
        ),
        tuple(
            (n.name, r["epoch"], *(r.get(k) for k in keys))
            for n in trained.networks for r in n.result.history
        ),
        folded=True,
    )  # fmt: skip


def _per_class(trained: Comparison) -> Figure:
    found = trained.found
    random = trained.random
    reached = {c: value for c, value in enumerate(found.evaluation.per_class) if value is not None}
    others = {
        c: [v for n in random if (v := n.evaluation.per_class[c]) is not None] for c in reached
    }
    means = {c: statistics.fmean(values) for c, values in others.items() if values}
    order = sorted(reached, key=lambda c: reached[c])[:30]
    values = [reached[c] for c in order] + [means[c] for c in order if c in means]
    chart = Chart(
        "Accuracy by class",
        f"Weakest: {trained.classes[order[0]]} with {percent(reached[order[0]])}.",
        Axis("", min(values), 1.0, lambda v: f"{100 * v:.0f} %", pad=0.02),
        Axis("", 0, len(order), most=1),
        width=350,
        height=66 + 19 * len(order),
        left=120,
    )
    names = []
    for i, c in enumerate(order):
        y = len(order) - i - 0.5
        mean = means.get(c)
        if mean is not None:
            chart.interval(min(mean, reached[c]), max(mean, reached[c]), y, 6)
            title = f"{trained.classes[c]}: random networks {percent(mean)} on average"
            chart.dot(mean, y, 6, title)
        title = f"{trained.classes[c]}: {percent(reached[c])}"
        chart.dot(reached[c], y, 1, title, mark="diamond", size=5)
        name = trained.classes[c]
        names.append((y, short(name, 16)))
    table = Table(
        "classes",
        "Accuracy by class",
        (
            Column("class"),
            Column("found", "percent"),
            *([Column("random mean", "percent")] if random else []),
        ),
        tuple(
            (name, reached.get(c), *([means.get(c)] if random else []))
            for c, name in enumerate(trained.classes)
        ),
        folded=True,
    )
    legend = [Legend(1, "diamond", "found")]
    if random:
        legend.append(Legend(6, "circle", f"mean of {len(random)} random"))
    return Figure(chart.text(names), "Weakest classes first.", tuple(legend), table)


def _confusion(classes: Sequence[str], found: Compared) -> Figure | Table:
    number = len(classes)
    wrong = sorted(
        (
            (found.evaluation.confusion[c][k], c, k)
            for c in range(number)
            for k in range(number)
            if c != k
        ),
        reverse=True,
    )
    table = Table(
        "confusion",
        "What is taken for what, most frequent first",
        (Column("class"), Column("taken for"), Column("images", "count")),
        tuple((classes[c], classes[k], count) for count, c, k in wrong if count > 0),
        folded=True,
    )
    if number > _MOST_CLASSES:
        return table
    count, c, k = wrong[0]
    said = f"Most often {classes[c]} is taken for {classes[k]}: {count} times."
    caption = "A row for each true class of the found network, a column for what it was taken for."
    return Figure(_matrix(classes, found, said), caption, (), table)


def _matrix(classes: Sequence[str], found: Compared, said: str) -> str:
    number = len(classes)
    cell = min(34.0, 372 / number)
    left, head = 100.0, 86.0
    parts = []
    for c, name in enumerate(classes):
        at = (c + 0.5) * cell
        if number <= 30:
            label = escape(short(name, 14))
            parts.append(
                f'<text class="tick" x="{left - 6:.0f}" y="{head + at + 4:.1f}" '
                f'text-anchor="end">{label}</text><text class="tick" transform="translate('
                f'{left + at + 3:.1f} {head - 6:.0f}) rotate(-48)">{label}</text>'
            )
        total = sum(found.evaluation.confusion[c]) or 1
        for k, count in enumerate(found.evaluation.confusion[c]):
            if count == 0:
                continue
            share = count / total
            place = f'x="{left + k * cell:.1f}" y="{head + c * cell:.1f}"'
            kind = "heat" if k == c else "heat wrong"
            title = f"{escape(name)}, taken for {escape(classes[k])}: {count} of {total}"
            parts.append(
                f'<g><title>{title}</title><rect class="{kind}" style="--p:{share:.3f}" {place} '
                f'width="{cell - 1:.1f}" height="{cell - 1:.1f}"/>'
            )
            if number <= 12:
                strong = " on" if share > 0.55 else ""
                parts.append(
                    f'<text class="small{strong}" x="{left + (k + 0.5) * cell:.1f}" '
                    f'y="{head + at + 4:.1f}" text-anchor="middle">{count}</text>'
                )
            parts.append("</g>")
    return picture(
        left + number * cell + 30,
        head + number * cell + 4,
        "".join(parts),
        "Confusion matrix",
        said,
        "map",
    )
