"""The sections on the network: the answer first, its picture, its limits, its training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from ddpnas.drawing import draw
from ddpnas.report.blocks import (
    Block,
    Column,
    Fact,
    Facts,
    Figure,
    Headline,
    Legend,
    Section,
    Table,
    Tile,
    amount,
    duration,
    percent,
)
from ddpnas.report.data import Network, Trained
from ddpnas.report.measures import mean_and_spread, time_spent
from ddpnas.report.svg import MARKS, Axis, Chart, picture
from ddpnas.report.view import View

__all__ = ["headline", "network", "training", "training_words"]

_ALWAYS_SHOWN = ("macs", "params", "latency_ms")
_SPLITS = {"test": "test", "valid": "validation"}


def headline(view: View) -> Headline:
    """Return the answer: the network, its accuracy beside random ones, its costs in the limits."""
    run = view.run
    tiles: list[Tile] = []
    if run.trained is not None:
        tiles += _accuracy_tiles(run.trained)
    elif run.history:
        best = max(record["score"] for record in run.history)
        tiles.append(
            Tile("best score so far" if not run.finished else "best score", percent(best), best,
                 "validation accuracy on shared weights; not yet trained by itself")
        )  # fmt: skip
    for name, value in view.chosen_costs.items():
        if name in run.limits or name in _ALWAYS_SHOWN:
            tiles.append(_cost_tile(view, name, value))
    spent = sum(time_spent(run).values())
    if run.history:
        note = f"{len(run.history)} architectures scored"
        tiles.append(Tile("search time", duration(spent), spent, note))
    return Headline(
        title=f"A network for {run.data_name}",
        status=_status(view),
        words=_answer(view),
        tiles=tuple(tiles),
        details={
            "run": str(run.path),
            "space": str(run.config["space"]),
            "strategy": str(run.config["strategy"]),
            "started": str(run.made_with.get("started", "")).replace("T", " ")[:16],
        },
    )


def _status(view: View) -> str:
    run = view.run
    if run.finished:
        return "finished"
    total = f" of {run.planned}" if run.planned is not None else ""
    return f"unfinished: {len(run.history)}{total} architectures scored"


def _accuracy_tiles(trained: Trained) -> list[Tile]:
    found = trained.found
    split = _SPLITS[found.split]
    tiles = [Tile("found network", percent(found.accuracy), found.accuracy, f"{split} accuracy")]
    if trained.random:
        mean, spread = mean_and_spread([n.accuracy for n in trained.random])
        pm = f" \u00b1 {100 * spread:.2f}" if len(trained.random) > 1 else ""
        value = f"{100 * mean:.2f}{pm} %"
        note = f"mean{' and standard deviation' if pm else ''} of {len(trained.random)}"
        tiles.append(Tile("random networks", value, mean, note))
    return tiles


def _cost_tile(view: View, name: str, value: float) -> Tile:
    low, high = view.run.limits.get(name, (None, None))
    unit = view.units.get(name, name)
    if high is None:
        note = "no limit was set" if low is None else f"at least {amount(low)}"
        return Tile(unit, amount(value), value, note)
    least = f"at least {amount(low)}, " if low is not None else ""
    share = value / high if high > 0 else None
    return Tile(unit, amount(value), value, f"{least}limit {amount(high)}", share)


def _answer(view: View) -> tuple[str, ...]:
    run = view.run
    words = []
    if not run.finished:
        words.append(
            "The search is not finished; everything here is as of its last scored architecture."
        )
    if run.trained is not None:
        words += training_words(run.trained, bool(run.limits))
    elif run.finished:
        within = "within the limits" if run.limits else "without any limit"
        words.append(
            f"The architecture that the search holds to be most likely the best, {within}. How "
            f"good it is only training by itself can tell."
        )
    return tuple(words)


def training_words(trained: Trained, limited: bool) -> list[str]:
    """Return in words how the found network compares with the random ones."""
    found = trained.found
    epochs = trained.recipe.get("epochs", len(found.history))
    split = _SPLITS[found.split]
    says = [
        (
            f"Trained from scratch for {epochs} epochs, the found network gets "
            f"{percent(found.accuracy)} of the {split} images right."
        )
    ]
    if not trained.random:
        return says
    mean, _ = mean_and_spread([n.accuracy for n in trained.random])
    number = len(trained.random)
    beaten = sum(found.accuracy > n.accuracy for n in trained.random)
    which = "all" if beaten == number else "none" if beaten == 0 else str(beaten)
    within = " within the same limits" if limited else ""
    better = "better" if found.accuracy > mean else "not better"
    says.append(
        f"That is {better} than the mean of {number} random network{'s' if number > 1 else ''}"
        f"{within}, trained alike ({percent(mean)}), and better than {which} of them."
    )
    if number < 5:
        says.append("So few are an indication, not a proof.")
    return says


def network(view: View) -> Section | None:
    """Return the chosen architecture: picture, text, choices and costs."""
    run = view.run
    chosen = run.chosen
    if chosen is None:
        return None
    active = set(run.space.active(chosen))
    rows = []
    for i, decision in enumerate(run.space.decisions):
        option = chosen[decision.name]
        if decision.name in active:
            probability = float(run.distribution.rows[i][decision.index(option)])
            alive = option in run.distribution.survivors[decision.name]
            rows.append((decision.name, option, probability, "yes" if alive else "pruned"))
    table = Table(
        "architecture",
        "Choices of the network",
        (
            Column("decision"),
            Column("choice"),
            Column("probability", "number"),
            Column("survived"),
        ),
        tuple(rows),
        folded=True,
    )
    what = f"{len(rows)} decisions; the table below names each choice."
    labelled = _drawing(str(draw(run.space, chosen)), what)
    figure = Figure(
        labelled, "Colours are those of the options; grey is nothing or a plain connection.",
        (), table, wide=True,
    )  # fmt: skip
    blocks: list[Block] = [figure]
    facts = [Fact("text form", run.chosen_text or "")]
    if run.generated is not None:
        proof = run.generated["certificate"]
        facts.append(Fact("log probability", f"{run.generated['log_prob']:.4g}",
                          run.generated["log_prob"]))  # fmt: skip
        facts.append(Fact("proof", f"the solver's gap to any better one is {proof['gap']:.1g}"))
    blocks.append(Facts(tuple(facts)))
    if view.chosen_costs:
        blocks.append(_cost_table(view))
    return Section("network", "The network", (), tuple(blocks))


def _drawing(svg: str, what: str) -> str:
    """Return the drawing with a name for those who do not see it, and its width for the page."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ', svg)
    width = float(box[1]) if box else 600.0
    return svg.replace(
        "<svg ",
        f'<svg class="drawing" style="--w:{width:.0f}" role="img" aria-label="{escape(what)}" ',
        1,
    )


def _cost_table(view: View) -> Table:
    limits = view.run.limits
    lower = any(low is not None for low, _ in limits.values())
    rows = []
    for name, value in view.chosen_costs.items():
        low, high = limits.get(name, (None, None))
        left = high - value if high is not None else None
        rows.append((name, value, *([low] if lower else []), high, left))
    return Table(
        "costs",
        "What it costs, and the limits it had to meet",
        (
            Column("cost"),
            Column("value", "amount"),
            *([Column("at least", "amount")] if lower else []),
            Column("limit", "amount"),
            Column("left", "amount"),
        ),
        tuple(rows),
    )


def training(view: View) -> Section | None:
    """Return the networks that were trained: figures, curves, accuracy by class, confusion."""
    trained = view.run.trained
    if trained is None:
        return None
    blocks: list[Block] = [_networks_table(view, trained)]
    if len(trained.networks) > 1 and (figure := _cost_figure(view, trained)) is not None:
        blocks.append(figure)
    blocks += _curves(trained)
    if trained.found.per_class:
        blocks.append(_per_class(trained))
    if trained.found.confusion:
        blocks.append(_confusion(trained.classes, trained.found))
    words = (
        (
            f"Recipe {trained.recipe.get('name', '')}, {trained.recipe.get('epochs')} epochs, seed "
            f"{trained.seed}, the same for every network."
        ),
    )
    return Section("training", "Trained from scratch", words, tuple(blocks))


def _networks_table(view: View, trained: Trained) -> Table:
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
                n.accuracy,
                n.split,
                *(n.costs.get(name) for name in costs),
                n.seconds,
                n.text or None,
            )
            for n in trained.networks
        ),
    )


def series_of(trained: Trained, network: Network) -> tuple[int, str]:
    """Return number and mark of a network's series: found 1, random 6, baselines 2 and on."""
    if network is trained.found:
        return 1, "diamond"
    if network in trained.random:
        return 6, "circle"
    others = [n for n in trained.networks[1:] if n not in trained.random]
    at = others.index(network)
    return 2 + at % 4, MARKS[1 + at % 4]


def _legend(trained: Trained) -> tuple[Legend, ...]:
    entries = [Legend(1, "diamond", "found")]
    if trained.random:
        entries.append(Legend(6, "circle", "random"))
    for n in trained.networks[1:]:
        if n not in trained.random:
            entries.append(Legend(*series_of(trained, n), n.name))
    return tuple(entries)


def _cost_figure(view: View, trained: Trained) -> Figure | None:
    names = [n for n in (*view.run.limits, *trained.found.costs) if n in trained.found.costs]
    if not names:
        return None
    name = names[0]
    points = [(n.costs[name], n.accuracy, n) for n in trained.networks if name in n.costs]
    costs, accuracies = [p[0] for p in points], [p[1] for p in points]
    high = view.run.limits.get(name, (None, None))[1]
    chart = Chart(
        f"Accuracy against {name}",
        f"{len(points)} networks; found: {percent(trained.found.accuracy)} at "
        f"{amount(trained.found.costs[name])} {view.units.get(name, name)}.",
        Axis(view.units.get(name, name), min(costs), max([*costs, high or 0]), amount, pad=0.1,
             most=4),
        Axis("", min(accuracies), max(accuracies), lambda v: f"{100 * v:.1f} %", pad=0.2),
        width=350,
            height=260,
    )  # fmt: skip
    if high is not None:
        chart.upright(high, "limit")
    for cost, accuracy, n in sorted(points, key=lambda p: p[2] is trained.found):
        series, mark = series_of(trained, n)
        title = f"{n.name}: {percent(accuracy)}, {cost:,.0f} {view.units.get(name, name)}"
        chart.dot(cost, accuracy, series, title, mark=mark, size=5.5)
    caption = f"{_SPLITS[trained.found.split].capitalize()} accuracy of each network by its cost."
    return Figure(chart.text(), caption, _legend(trained))


def _curves(trained: Trained) -> list[Figure]:
    figures = []
    known = {
        "loss": "Training loss",
        "accuracy": "Accuracy",
        "valid_accuracy": "Validation accuracy",
    }
    first = True
    for key, title in known.items():
        curves = [(n, [(r["epoch"], r[key]) for r in n.history if r.get(key) is not None])
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
            series, mark = series_of(trained, n)
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


def _history_table(trained: Trained) -> Table:
    keys = list(dict.fromkeys(k for n in trained.networks for r in n.history for k in r))
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
            for n in trained.networks for r in n.history
        ),
        folded=True,
    )  # fmt: skip


def _per_class(trained: Trained) -> Figure:
    found = trained.found
    random = [n for n in trained.random if n.per_class]
    means = [
        sum(n.per_class[c] for n in random) / len(random) if random else None
        for c in range(len(trained.classes))
    ]
    order = sorted(range(len(trained.classes)), key=lambda c: found.per_class[c])[:30]
    values = [found.per_class[c] for c in order] + [m for c in order if (m := means[c]) is not None]
    chart = Chart(
        "Accuracy by class",
        f"Weakest: {trained.classes[order[0]]} with {percent(found.per_class[order[0]])}.",
        Axis("", min(values), 1.0, lambda v: f"{100 * v:.0f} %", pad=0.02),
        Axis("", 0, len(order), most=1),
        width=350,
        height=66 + 19 * len(order),
        left=120,
    )
    names = []
    for i, c in enumerate(order):
        y = len(order) - i - 0.5
        mean = means[c]
        if mean is not None:
            chart.interval(min(mean, found.per_class[c]), max(mean, found.per_class[c]), y, 6)
            title = f"{trained.classes[c]}: random networks {percent(mean)} on average"
            chart.dot(mean, y, 6, title)
        title = f"{trained.classes[c]}: {percent(found.per_class[c])}"
        chart.dot(found.per_class[c], y, 1, title, mark="diamond", size=5)
        name = trained.classes[c]
        names.append((y, name if len(name) <= 16 else name[:15] + "\u2026"))
    table = Table(
        "classes",
        "Accuracy by class",
        (
            Column("class"),
            Column("found", "percent"),
            *([Column("random mean", "percent")] if random else []),
        ),
        tuple(
            (name, found.per_class[c], *([means[c]] if random else []))
            for c, name in enumerate(trained.classes)
        ),
        folded=True,
    )
    legend = [Legend(1, "diamond", "found")]
    if random:
        legend.append(Legend(6, "circle", f"mean of {len(random)} random"))
    return Figure(chart.text(names), "Weakest classes first.", tuple(legend), table)


def _confusion(classes: Sequence[str], found: Network) -> Figure:
    number = len(classes)
    cell = min(34.0, 372 / number)
    left, head = 100.0, 86.0
    parts = []
    for c, name in enumerate(classes):
        at = (c + 0.5) * cell
        if number <= 30:
            short = escape(name if len(name) <= 14 else name[:13] + "\u2026")
            parts.append(
                f'<text class="tick" x="{left - 6:.0f}" y="{head + at + 4:.1f}" '
                f'text-anchor="end">{short}</text><text class="tick" transform="translate('
                f'{left + at + 3:.1f} {head - 6:.0f}) rotate(-48)">{short}</text>'
            )
        total = sum(found.confusion[c]) or 1
        for k, count in enumerate(found.confusion[c]):
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
    wrong = sorted(
        ((found.confusion[c][k], c, k) for c in range(number) for k in range(number) if c != k),
        reverse=True,
    )
    count, c, k = wrong[0]
    svg = picture(
        left + number * cell + 30,
        head + number * cell + 4,
        "".join(parts),
        "Confusion matrix",
        f"Most often {classes[c]} is taken for {classes[k]}: {count} times.",
        "map",
    )
    table = Table(
        "confusion",
        "What is taken for what, most frequent first",
        (Column("class"), Column("taken for"), Column("images", "count")),
        tuple((classes[c], classes[k], count) for count, c, k in wrong if count > 0),
        folded=True,
    )
    caption = "A row for each true class of the found network, a column for what it was taken for."
    return Figure(svg, caption, (), table)
