"""The page about several runs answers: which is best, are they comparable, do they agree?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Block,
    Column,
    DataTable,
    Figure,
    Headline,
    Legend,
    Section,
    Tile,
    percent,
)
from ddpnas.report.charts import (
    CostPoint,
    Curve,
    accuracy_by_cost,
    axis_text,
    curves_by_epoch,
)
from ddpnas.report.measures import mean_and_spread, stage_means
from ddpnas.report.svg import MARKS, Axis, Chart

__all__ = ["comparison_headline", "comparison_sections"]


def comparison_headline(views: Sequence[View]) -> Headline:
    """Return which found network is the most accurate, and what hinders the comparison."""
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
            f"The most accurate found network comes from {label} ({percent(best)}), the least "
            f"accurate from {other} ({percent(least)})."
        )
    for v in views:
        if v.run.trained is not None:
            value = v.run.trained.found.evaluation.accuracy
            tiles.append(Tile(v.run.label, percent(value), value, "accuracy of the found network"))
        elif (reached := v.run.best_measure) is not None:
            said = v.run.written_measure(reached)
            tiles.append(Tile(v.run.label, said, reached, "best score in the search"))
    words += _warnings(views)
    unfinished = [v.run.label for v in views if not v.run.finished]
    status = f"unfinished: {', '.join(unfinished)}" if unfinished else "finished"
    title = f"{len(views)} searches compared"
    return Headline(title, status, tuple(words), tuple(tiles))


def _warnings(views: Sequence[View]) -> list[str]:
    """Return what makes the numbers of these runs hard to compare."""
    words = []
    data = {v.run.identity.data["fingerprint"] for v in views}
    if len(data) > 1:
        words.append("The runs used different images, so their accuracies cannot be compared.")
    if any(v.run.decision_space.decisions != views[0].run.decision_space.decisions for v in views):
        words.append("The runs searched different spaces.")
    recipes = {
        (str(v.run.trained.found.result.recipe), v.run.trained.found.evaluation.split)
        for v in views
        if v.run.trained
    }
    if len(recipes) > 1:
        words.append("The found networks were trained with different recipes or numbers of epochs.")
    return words


def comparison_sections(views: Sequence[View]) -> tuple[Section, ...]:
    """Return the sections that compare the runs."""
    sections = [_side_by_side(views), _scores(views), _choices(views), _training(views)]
    return tuple(section for section in sections if section is not None)


def _series(i: int) -> tuple[int, str]:
    return 1 + i % 5, MARKS[i % 4]


def _legend(views: Sequence[View]) -> tuple[Legend, ...]:
    return tuple(Legend(*_series(i), v.run.label) for i, v in enumerate(views))


def _side_by_side(views: Sequence[View]) -> Section:
    limited = [name for v in views for name in v.limits]
    costs = [
        name
        for name in dict.fromkeys(["macs", "params", *limited])
        if any(name in v.network_costs for v in views)
    ]
    percents = all(v.run.has_accuracies for v in views)
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
                *(v.network_costs.get(name) for name in costs),
                run.best_measure,
                len(run.history),
                run.seconds,
                run.space_name,
                run.data_name,
                run.strategy_name,
                run.config.seed,
            )
        )
    table = DataTable(
        "comparison",
        "The runs",
        (
            Column("run"),
            Column("accuracy", "percent"),
            Column("random mean", "percent"),
            Column("random networks", "count"),
            Column("same size mean", "percent"),
            *(Column(name, "amount") for name in costs),
            Column("best score", "percent" if percents else "number"),
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
            "Accuracy is that of the found network, trained from scratch. The best score is the "
            f"highest {'accuracy' if percents else 'accuracy or score'} during the search."
        ),
    )
    return Section("comparison", "Side by side", words, (table,))


def _scores(views: Sequence[View]) -> Section | None:
    scores = [a for v in views for a in v.run.measures if math.isfinite(a)]
    # Accuracies and scores that are none share no axis.
    if not scores or len({v.run.has_accuracies for v in views}) > 1:
        return None
    first = views[0].run
    what = "Accuracy" if first.has_accuracies else "Score"
    chart = Chart(
        f"{what} of the scored architectures, run by run",
        f"{len(views)} runs; the highest score is {first.written_measure(max(scores))}.",
        Axis("evaluations", 0, max(len(v.run.history) for v in views), whole=True),
        Axis("", min(scores), max(scores), axis_text(first), pad=0.06),
        left=50,
    )
    for i, v in enumerate(views):
        series, mark = _series(i)
        reached = v.run.measures
        step = -(-len(reached) // 500)
        for k, accuracy in list(enumerate(reached))[:: max(1, step)]:
            if math.isfinite(accuracy):
                title = f"{v.run.label}, {k + 1}: {v.run.written_measure(accuracy)}"
                chart.dot(k + 0.5, accuracy, series, title, mark=mark, size=2.6)
        for one in stage_means(v.run):
            if math.isfinite(one.mean):
                chart.line([(one.start, one.mean), (one.end, one.mean)], series)
    caption = "Points are architectures; lines are the means of stages."
    figure = Figure(chart.text(), caption, _legend(views))
    return Section("scores", "The searches", (), (figure,))


def _choices(views: Sequence[View]) -> Section | None:
    """Return where the chosen architectures agree, and how often chance would make them."""
    decided = [v for v in views if v.network is not None]
    first = views[0].run.decision_space.decisions
    if len(decided) < 2 or any(v.run.decision_space.decisions != first for v in decided):
        return None
    rows, agree, by_chance = [], 0, 0.0
    for decision in first:
        made = [v.network.architecture[decision.name] for v in decided if v.network is not None]
        same = len(set(made)) == 1
        agree += same
        by_chance += len(decision.options) ** (1.0 - len(made))
        rows.append((decision.name, *made, "yes" if same else "no"))
    table = DataTable(
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
    """Return loss curves and accuracies of the trained networks of all runs."""
    trained = [(_series(i), v.run.label, v.run.trained) for i, v in enumerate(views)]
    compared = [(series, label, t) for series, label, t in trained if t is not None]
    if len(compared) < 2:
        return None
    blocks: list[Block] = []
    losses = [
        (series, label, [(r["epoch"], r["loss"]) for r in t.found.result.history if "loss" in r])
        for series, label, t in compared
    ]
    curves = [Curve(label, *series, points) for series, label, points in losses if points]
    if curves:
        svg = curves_by_epoch("Training loss of the found networks", curves, "{:.4g}".format)
        blocks.append(Figure(svg, "Training loss by epoch.", _legend(views)))
    points = [
        CostPoint(f"{label}, {n.name}", *series, n.costs["macs"], n.evaluation.accuracy, size)
        for series, label, t in compared
        for n, size in ((t.found, 6.0), *((one, 3.0) for one in t.random))
        if "macs" in n.costs
    ]
    if points:
        svg = accuracy_by_cost(
            "Accuracy against multiply-adds",
            f"{len(points)} networks of {len(compared)} runs.",
            "MACs",
            points,
        )
        caption = "Large: the found networks. Small: the random networks of the same run."
        blocks.append(Figure(svg, caption, _legend(views)))
    return Section("trained", "Trained from scratch", (), tuple(blocks))
