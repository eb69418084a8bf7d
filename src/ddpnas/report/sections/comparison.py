"""Several runs side by side: one table, the curves over each other, where the choices agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Block,
    Column,
    Figure,
    Headline,
    Legend,
    Section,
    Table,
    Tile,
    amount,
    percent,
)
from ddpnas.report.measures import mean_and_spread, time_spent
from ddpnas.report.svg import MARKS, Axis, Chart

__all__ = ["comparison", "comparison_headline"]


def comparison_headline(views: Sequence[View]) -> Headline:
    """Return the answer of a comparison: which found network is the most accurate."""
    trained = [v for v in views if v.run.trained is not None]
    words = []
    tiles = []
    if len(trained) > 1:
        scored = [
            (v.run.trained.found.evaluation.accuracy, v.run.label) for v in trained if v.run.trained
        ]
        best, label = max(scored)
        least, other = min(scored)
        words.append(
            f"The most accurate found network is that of {label} with {percent(best)}; that of "
            f"{other} reaches {percent(least)}."
        )
    for v in views:
        if v.run.trained is not None:
            value = v.run.trained.found.evaluation.accuracy
            tiles.append(Tile(v.run.label, percent(value), value, "accuracy of the found network"))
        elif v.run.history:
            value = max(v.run.accuracies)
            tiles.append(Tile(v.run.label, percent(value), value, "best score in the search"))
    words += _warnings(views)
    unfinished = [v.run.label for v in views if not v.run.finished]
    status = f"unfinished: {', '.join(unfinished)}" if unfinished else "finished"
    title = f"{len(views)} searches compared"
    return Headline(title, status, tuple(words), tuple(tiles))


def _warnings(views: Sequence[View]) -> list[str]:
    """Return what makes the numbers of these runs incomparable."""
    words = []
    data = {v.run.fingerprint for v in views}
    if len(data) > 1:
        words.append("They searched on different images: accuracies do not compare.")
    if any(v.run.space.decisions != views[0].run.space.decisions for v in views):
        words.append("They searched different spaces.")
    recipes = {
        (str(v.run.trained.found.result.recipe), v.run.trained.found.evaluation.split)
        for v in views
        if v.run.trained
    }
    if len(recipes) > 1:
        words.append("The found networks were trained by different recipes or for different times.")
    return words


def comparison(views: Sequence[View]) -> tuple[Section, ...]:
    """Return the sections that compare the runs."""
    sections = [_side_by_side(views), _scores(views), _choices(views), _training(views)]
    return tuple(section for section in sections if section is not None)


def _series(i: int) -> tuple[int, str]:
    return 1 + i % 5, MARKS[i % 4]


def _legend(views: Sequence[View]) -> tuple[Legend, ...]:
    return tuple(Legend(*_series(i), v.run.label) for i, v in enumerate(views))


def _side_by_side(views: Sequence[View]) -> Section:
    limited = [name for v in views for name in v.run.limits]
    costs = [
        name
        for name in dict.fromkeys(["macs", "params", *limited])
        if any(name in v.chosen_costs for v in views)
    ]
    rows = []
    for v in views:
        run, trained = v.run, v.run.trained
        random = [n.evaluation.accuracy for n in trained.random] if trained is not None else []
        same_size = (
            [n.evaluation.accuracy for n in trained.same_size] if trained is not None else []
        )
        rows.append(
            (
                run.label,
                trained.found.evaluation.accuracy if trained is not None else None,
                mean_and_spread(random)[0] if random else None,
                len(random) if trained is not None else None,
                mean_and_spread(same_size)[0] if same_size else None,
                *(v.chosen_costs.get(name) for name in costs),
                max(run.accuracies, default=None),
                len(run.history),
                math.fsum(time_spent(run).values()),
                run.space_name,
                run.data_name,
                run.strategy_name,
                run.config["seed"],
            )
        )
    table = Table(
        "comparison",
        "The runs",
        (
            Column("run"),
            Column("accuracy", "percent"),
            Column("random mean", "percent"),
            Column("random networks", "count"),
            Column("same size mean", "percent"),
            *(Column(name, "amount") for name in costs),
            Column("best score", "percent"),
            Column("scored", "count"),
            Column("time", "seconds", "s"),
            Column("space"),
            Column("data"),
            Column("strategy"),
            Column("seed", "count"),
        ),
        tuple(rows),
    )
    words = (
        (
            "Accuracy is that of the found network after training by itself; the best score is "
            "the highest validation accuracy in the search."
        ),
    )
    return Section("comparison", "Side by side", words, (table,))


def _scores(views: Sequence[View]) -> Section | None:
    scores = [a for v in views for a in v.run.accuracies if math.isfinite(a)]
    if not scores:
        return None
    chart = Chart(
        "Validation accuracy of the scored architectures, run by run",
        f"{len(views)} runs; the highest score is {percent(max(scores))}.",
        Axis("scored architectures", 0, max(len(v.run.history) for v in views), whole=True),
        Axis("", min(scores), max(scores), lambda x: f"{100 * x:.0f} %", pad=0.06),
        left=50,
    )
    for i, v in enumerate(views):
        series, mark = _series(i)
        reached = v.run.accuracies
        step = -(-len(reached) // 500)
        for k, accuracy in list(enumerate(reached))[:: max(1, step)]:
            if math.isfinite(accuracy):
                title = f"{v.run.label}, {k + 1}: {percent(accuracy)}"
                chart.dot(k + 0.5, accuracy, series, title, mark=mark, size=2.6)
        for _, group in groupby(enumerate(v.run.history), key=lambda pair: pair[1]["stage"]):
            there = [k for k, _ in group]
            mean = math.fsum(reached[k] for k in there) / len(there)
            if math.isfinite(mean):
                chart.line([(there[0], mean), (there[-1] + 1, mean)], series)
    caption = "Points are architectures, lines the means of the stages."
    figure = Figure(chart.text(), caption, _legend(views))
    return Section("scores", "The searches", (), (figure,))


def _choices(views: Sequence[View]) -> Section | None:
    """Return where the chosen architectures agree, beside what chance would give."""
    decided = [v for v in views if v.run.chosen is not None]
    first = views[0].run.space.decisions
    if len(decided) < 2 or any(v.run.space.decisions != first for v in decided):
        return None
    rows, agree, by_chance = [], 0, 0.0
    for decision in first:
        made = [v.run.chosen[decision.name] for v in decided if v.run.chosen is not None]
        same = len(set(made)) == 1
        agree += same
        by_chance += len(decision.options) ** (1.0 - len(made))
        rows.append((decision.name, *made, "yes" if same else "no"))
    table = Table(
        "choices",
        "The choices of each run",
        (Column("decision"), *(Column(f"in {v.run.label}") for v in decided), Column("agree")),
        tuple(rows),
    )
    words = (
        (
            f"The runs agree on {agree} of {len(first)} decisions; independent random "
            f"architectures would agree on {by_chance:.1f}."
        ),
    )
    return Section("choices", "What they found", words, (table,))


def _training(views: Sequence[View]) -> Section | None:
    trained = [(i, v, v.run.trained) for i, v in enumerate(views) if v.run.trained is not None]
    if len(trained) < 2:
        return None
    blocks: list[Block] = []
    curves = [
        (i, v, [(r["epoch"], r["loss"]) for r in t.found.result.history if "loss" in r])
        for i, v, t in trained
        if t is not None
    ]
    curves = [curve for curve in curves if curve[2]]
    if curves:
        values = [y for _, _, points in curves for _, y in points]
        last = max(x for _, _, points in curves for x, _ in points)
        chart = Chart(
            "Training loss of the found networks",
            f"{len(curves)} networks over up to {last:.0f} epochs.",
            Axis("epoch", 1, last, whole=True),
            Axis("", min(values), max(values), pad=0.05),
            width=350,
            height=260,
            left=50,
        )
        for i, v, points in curves:
            series, mark = _series(i)
            chart.line(points, series)
            for x, y in points if len(points) <= 60 else points[-1:]:
                chart.dot(x, y, series, f"{v.run.label}, epoch {x:.0f}: {y:.4f}", mark=mark, size=3)
        blocks.append(Figure(chart.text(), "Training loss by epoch.", _legend(views)))
    networks = [(i, v, n) for i, v, t in trained if t is not None for n in (t.found, *t.random)]
    networks = [entry for entry in networks if "macs" in entry[2].costs]
    if networks:
        sizes = [n.costs["macs"] for _, _, n in networks]
        accuracies = [n.evaluation.accuracy for _, _, n in networks]
        chart = Chart(
            "Accuracy against multiply-adds",
            f"{len(networks)} networks of {len(trained)} runs.",
            Axis("MACs", min(sizes), max(sizes), amount, pad=0.1, most=4),
            Axis("", min(accuracies), max(accuracies), lambda x: f"{100 * x:.1f} %", pad=0.1),
            width=350,
            height=260,
        )
        for i, v, n in reversed(networks):
            series, mark = _series(i)
            found = n.name == "found"
            accuracy, macs = n.evaluation.accuracy, n.costs["macs"]
            title = f"{v.run.label}, {n.name}: {percent(accuracy)}, {macs:,.0f} MACs"
            size = 6.0 if found else 3.0
            chart.dot(macs, accuracy, series, title, mark=mark, size=size)
        caption = "Large: the found networks. Small: the random ones trained beside them."
        blocks.append(Figure(chart.text(), caption, _legend(views)))
    return Section("trained", "Trained from scratch", (), tuple(blocks))
