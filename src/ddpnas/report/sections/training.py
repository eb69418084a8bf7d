"""The section that answers: is the found network better than others trained the same way?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import (
    Block,
    Column,
    DataTable,
    Figure,
    Legend,
    Section,
    percent,
    short_amount,
)
from ddpnas.report.charts import (
    CostPoint,
    Curve,
    accuracy_by_cost,
    curves_by_epoch,
)
from ddpnas.report.measures import SPLIT_NAMES
from ddpnas.report.svg import MARKS, svg_image
from ddpnas.training.results import Compared, Comparison, trained_for
from ddpnas.utils.text_width import fitted

__all__ = ["training_section"]

_MOST_CLASSES = 30  # of a confusion matrix that is drawn
_MOST_LISTED = 20  # classes in a table that is open at first


def training_section(view: View | TrainedView) -> Section | None:
    """Return the trained networks: accuracy, curves, accuracy by class, confused classes."""
    trained = view.trained
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
            f"Every network was trained with recipe {result.recipe.name} and seed {result.seed} "
            f"for {trained_for(trained.networks)}."
        ),
    )
    title = "Trained from scratch"
    if trained.start is not None:
        title = f"Fine-tuned from {trained.start['name']}"
    return Section("training", title, words, tuple(blocks))


def _networks_table(view: View | TrainedView, trained: Comparison) -> DataTable:
    costs = list(trained.found.costs)
    return DataTable(
        "networks",
        "Trained networks",
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
    """Return color and mark of a network: found 1, random 6, same size 5, baselines 2 to 4."""
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


def _cost_figure(view: View | TrainedView, trained: Comparison) -> Figure | None:
    """Return accuracy against the first limited cost, or the first cost without limits."""
    found = trained.found
    names = [n for n in (*view.limits, *found.costs) if n in found.costs]
    if not names:
        return None
    name = names[0]
    unit = view.units.get(name, name)
    points = [
        CostPoint(n.name, *_series(trained, n), n.costs[name], n.evaluation.accuracy, 5.5)
        for n in trained.networks
        if name in n.costs
    ]
    limit = view.limits.get(name, Limit()).upper
    svg = accuracy_by_cost(
        f"Accuracy against {name}",
        f"{len(points)} networks; found: {percent(found.evaluation.accuracy)} at "
        f"{short_amount(found.costs[name])} {unit}.",
        unit,
        points,
        limit if math.isfinite(limit) else None,
    )
    split = SPLIT_NAMES[found.evaluation.split]
    caption = f"{split.capitalize()} accuracy of each network against its cost."
    return Figure(svg, caption, _legend(trained))


def _curves(trained: Comparison) -> list[Figure]:
    """Return a figure for each value that was recorded by epoch."""
    figures: list[Figure] = []
    recorded: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("loss", "Training loss", "{:.4g}".format),
        ("valid_accuracy", "Validation accuracy", percent),
    )
    for key, title, write in recorded:
        curves = [
            Curve(
                n.name,
                *_series(trained, n),
                [(r["epoch"], r[key]) for r in n.result.history if r.get(key) is not None],
            )
            for n in trained.networks
        ]
        curves = [curve for curve in curves if curve.points]
        if curves:
            svg = curves_by_epoch(f"{title} by epoch", curves, write)
            table = _history_table(trained) if not figures else None
            caption = f"{title} of each network by epoch."
            figures.append(Figure(svg, caption, _legend(trained), table))
    return figures


def _history_table(trained: Comparison) -> DataTable:
    keys = list(dict.fromkeys(k for n in trained.networks for r in n.result.history for k in r))
    keys = [k for k in keys if k != "epoch"]
    kinds = {"seconds": "seconds"}
    return DataTable(
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


def _per_class(trained: Comparison) -> DataTable:
    """Return the accuracy of each class, the weakest first and those without images last."""
    found, random = trained.found.evaluation, trained.random
    rows = []
    for c, (name, accuracy) in enumerate(zip(trained.classes, found.per_class, strict=True)):
        others = [v for n in random if (v := n.evaluation.per_class[c]) is not None]
        mean = [statistics.fmean(others) if others else None] if random else []
        rows.append((name, accuracy, *mean, sum(found.confusion[c])))
    return DataTable(
        "classes",
        "Accuracy by class, weakest first",
        (
            Column("class"),
            Column("found", "percent"),
            *([Column(f"mean of {len(random)} random", "percent")] if random else []),
            Column("images", "count"),
        ),
        tuple(sorted(rows, key=lambda row: (row[1] is None, row[1]))),
        folded=len(rows) > _MOST_LISTED,
    )


def _confusion(classes: Sequence[str], found: Compared) -> Figure | DataTable:
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
    table = DataTable(
        "confusion",
        "Confused classes, most frequent first",
        (Column("class"), Column("predicted as"), Column("images", "count")),
        tuple((classes[c], classes[k], count) for count, c, k in wrong if count > 0),
        folded=True,
    )
    if number > _MOST_CLASSES:
        return table
    count, c, k = max(wrong, default=(0, 0, 0))
    said = "No image is misclassified."
    if count > 0:
        said = f"Most frequent: {classes[c]} predicted as {classes[k]}, {count} times."
    caption = "Rows: true class. Columns: class that the network predicts."
    return Figure(_matrix(classes, found, said), caption, table=table)


def _matrix(classes: Sequence[str], found: Compared, said: str) -> str:
    number = len(classes)
    cell = max(18.0, min(34.0, 372 / number))
    left, head = 100.0, 86.0
    parts = []
    for c, name in enumerate(classes):
        at = (c + 0.5) * cell
        label = escape(fitted(name, left - 8))
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
            title = f"{escape(name)}, predicted as {escape(classes[k])}: {count} of {total}"
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
    return svg_image(
        left + number * cell + 60,
        head + number * cell + 4,
        "".join(parts),
        "Confusion matrix",
        said,
        "map",
    )
