"""The sections on the search: what was searched, how it went, what it learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby

from ddpnas.evaluators.config import SupernetConfig
from ddpnas.report.analysis import MOST_FITTED, View
from ddpnas.report.blocks import (
    Column,
    Fact,
    Facts,
    Figure,
    Legend,
    Section,
    Table,
    duration,
    percent,
    short,
)
from ddpnas.report.measures import skip_count, skip_stages, time_spent
from ddpnas.report.svg import Axis, Chart, picture

__all__ = ["accuracy", "effects", "searched", "skips", "time"]

_MOST_EFFECTS = 30
_MOST_DOTS = 1500


def searched(view: View) -> Section:
    """Return what was searched, on what, and how."""
    run = view.run
    options = {k: v for k, v in run.config["space_options"].items()}
    facts = [Fact("space", run.space_name)]
    if options:
        facts.append(Fact("its options", _listed(options)))
    size = run.space.valid_size or run.space.size
    facts.append(Fact("decisions", f"{len(run.space.decisions)}", len(run.space.decisions)))
    facts.append(Fact("architectures", _big(size), float(size) if size < 1e300 else None))
    facts.append(Fact("data", run.data_name))
    if run.data:
        classes = run.data["classes"]
        shape = " x ".join(map(str, run.data["input_shape"]))
        items = ", ".join(f"{count:,} {name}" for name, count in run.data["items"].items())
        facts.append(Fact("images", f"{items}; {shape} values each"))
        facts.append(Fact("classes", ", ".join(classes[:20]) + _more(classes)))
    strategy = run.strategy_name
    if run.config["strategy_options"]:
        strategy += f" ({_listed(run.config['strategy_options'])})"
    facts.append(Fact("strategy", strategy))
    facts.append(Fact("seed", str(run.config["seed"]), run.config["seed"]))
    planned = f" of {run.planned}" if run.planned is not None and not run.finished else ""
    facts.append(
        Fact("scored architectures", f"{len(run.history)}{planned}", len(run.history)),
    )
    rules = [rule.says for rule in run.space.rules]
    if rules:
        more = f"; and {len(rules) - 2} more like these" if len(rules) > 2 else ""
        facts.append(Fact("rules", "; ".join(rules[:2]) + more))
    words = (_how(view), "The test images took no part.")
    return Section("searched", "What was searched", words, (Facts(tuple(facts)),))


def _how(view: View) -> str:
    if not view.run.shared:
        settings = view.run.config["standalone"]
        return (
            f"Every architecture was trained on its own for {settings['epochs']} epochs (recipe "
            f"{settings['recipe']}) and then scored on the validation images."
        )
    settings = SupernetConfig(**view.run.config["supernet"])
    if settings.training == "path" and not settings.interleave:
        return (
            "Every architecture was trained for one epoch as a path through shared weights and "
            "then scored on the validation images."
        )
    mode = "path, interleaved" if settings.interleave else settings.training
    words = (
        f"Weights that all architectures share were trained (mode {mode}) before batches of "
        f"architectures were scored on the validation images."
    )
    if settings.prior_weight > 0:
        words += (
            f" The score weighs in what a network promises untrained (NASWOT and synflow, weight "
            f"{settings.prior_weight:g})."
        )
    return words


def _more(classes: Sequence[str]) -> str:
    return f" and {len(classes) - 20} more" if len(classes) > 20 else ""


def _listed(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in options.items())


def _plain(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _big(number: int) -> str:
    if number < 1e9:
        return f"{number:,}"
    power = int(math.log10(number))
    return f"about {number / 10**power:.1f} x 10^{power}"


def accuracy(view: View) -> Section | None:
    """Return the validation accuracy of every scored architecture, stage by stage."""
    run = view.run
    if not run.history:
        return None
    scores = run.accuracies
    total = max(run.planned or 0, len(scores))
    finite = [s for s in scores if math.isfinite(s)] or [0.0]
    chart = Chart(
        "Validation accuracy of the scored architectures",
        f"{len(scores)} architectures in order; from {percent(scores[0])} at the start to a best "
        f"of {percent(max(finite))}.",
        Axis("scored architectures", 0, total, "{:g}".format, whole=True),
        Axis("", min(finite), max(finite), lambda v: f"{100 * v:.0f} %", pad=0.08),
        left=50,
    )
    means = []
    for stage, records in groupby(enumerate(run.history), key=lambda pair: pair[1]["stage"]):
        there = [i for i, _ in records]
        start, end = there[0], there[-1] + 1
        chart.band(start, end, f"stage {stage + 1}", shaded=stage % 2 == 1)
        means.append((start, end, math.fsum(scores[i] for i in there) / len(there)))
    for start, end, mean in means:
        if math.isfinite(mean):
            chart.line([(start, mean), (end, mean)], 2)
    text = (view.space or run.space).format
    step = -(-len(scores) // _MOST_DOTS)
    for i, record in list(enumerate(run.history))[::step]:
        if math.isfinite(scores[i]):
            title = f"{i + 1}: {percent(scores[i])}, {text(record['architecture'])}"
            chart.dot(i + 0.5, scores[i], 1, title)
    optional = (
        Column("score", "number"),
        Column("loss", "number"),
        Column("lr", "number"),
        Column("seconds", "seconds"),
    )
    measured = [c for c in optional if all(c.name in record for record in run.history)]
    if [record["score"] for record in run.history] == scores:
        measured = [c for c in measured if c.name != "score"]
    table = Table(
        "history",
        "Every scored architecture",
        (
            Column("evaluation", "count"),
            Column("stage", "count"),
            Column("accuracy", "percent"),
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
    words = []
    if run.shared:
        settings = SupernetConfig(**run.config["supernet"])
        learning = settings.training == "path" or settings.epochs > 0
        words.append(
            "Weights are shared and go on learning, so later scores are higher for that reason "
            "too: scores are comparable within a stage, not across all of them."
            if learning
            else "All were scored with the same shared weights, trained before the first score; "
            "stages differ by what was pruned."
        )
    figure = Figure(
        chart.text(),
        "Accuracy on the validation images, with the mean of each stage.",
        (Legend(1, "circle", "one architecture"), Legend(2, "line", "mean of the stage")),
        table,
    )
    return Section("accuracy", "How the search went", tuple(words), (figure,))


def effects(view: View) -> Section | None:
    """Return what each choice adds to the score, with how sure that is."""
    found = view.effects
    if not found:
        return None
    largest = sorted(found, key=lambda e: -abs(e.mean))[:_MOST_EFFECTS]
    shown = [e for e in found if e in largest]
    reach = max(abs(e.mean) + 2 * e.spread for e in shown)
    best, worst = max(found, key=lambda e: e.mean), min(found, key=lambda e: e.mean)
    chart = Chart(
        "Effect of the choices on validation accuracy",
        f"Largest gain: {best.option} at {best.decision}, {100 * best.mean:+.1f} percentage "
        f"points; largest loss: {worst.option} at {worst.decision}, {100 * worst.mean:+.1f}.",
        Axis("percentage points", -100 * reach, 100 * reach, _signed, pad=0.02),
        Axis("", 0, len(shown), most=1),
        height=66 + 17 * len(shown),
        left=180,
    )
    names = []
    chart.upright(0, "")
    for i, effect in enumerate(shown):
        y = len(shown) - i - 0.5
        chosen = view.run.chosen
        series = 1 if chosen is not None and chosen[effect.decision] == effect.option else 6
        low, high = (100 * (effect.mean + side * 2 * effect.spread) for side in (-1, 1))
        chart.interval(low, high, y, series)
        title = (
            f"{effect.decision} = {effect.option}: {100 * effect.mean:+.2f} points, standard "
            f"deviation {100 * effect.spread:.2f}, seen {effect.count} times"
        )
        mark = "circle" if series == 1 else "ring"
        chart.dot(100 * effect.mean, y, series, title, mark=mark, size=3.6)
        names.append((y, short(f"{effect.decision} {effect.option}", 25)))
    table = Table(
        "effects",
        "The effect of every choice",
        (
            Column("decision"),
            Column("option"),
            Column("effect", "signed"),
            Column("standard deviation", "number"),
            Column("seen", "count"),
        ),
        tuple((e.decision, e.option, e.mean, e.spread, e.count) for e in found),
        folded=True,
    )
    part = f"the {len(shown)} largest of {len(found)}" if len(shown) < len(found) else "all of them"
    words = (
        (
            "What one choice adds to validation accuracy, the other choices being drawn at random, "
            "against the mean of its decision. Fitted to all scores together; where an interval "
            "spans zero, the search has not shown that the choice matters."
        ),
    )
    caption = f"Mean and two standard deviations; {part}."
    if len(view.run.history) > MOST_FITTED:
        caption += f" Fitted to at most {MOST_FITTED} architectures, evenly spaced."
    legend = [Legend(1, "circle", "chosen"), Legend(6, "ring", "not chosen")]
    figure = Figure(chart.text(names), caption, tuple(legend), table)
    return Section("effects", "What the choices are worth", words, (figure,))


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def time(view: View) -> Section | None:
    """Return where the time of the search went."""
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
    bar = picture(480, 26, "".join(parts), "Where the time went", said, "bar")
    legend = tuple(
        Legend(i, "block", f"{name} {100 * seconds / total:.1f} %")
        for i, (name, seconds) in enumerate(spent.items(), start=1)
    )
    table = Table(
        "time",
        "Seconds of the search",
        (Column("what"), Column("time", "seconds", "s"), Column("share", "percent")),
        tuple((name, seconds, seconds / total) for name, seconds in spent.items()),
        folded=True,
    )
    each = total / len(run.history)
    machine = run.made_with
    words = (
        (
            f"{duration(total)} on {machine.get('device', 'an unknown device')} for "
            f"{len(run.history)} architectures, {duration(each)} each."
        ),
    )
    return Section("time", "Where the time went", words, (Figure(bar, "", legend, table),))


def skips(view: View) -> Section | None:
    """Return skip connections over the search, against what chance would give."""
    run = view.run
    stages = skip_stages(run)
    if not stages:
        return None
    words = [
        (
            "Searches with shared weights are known to fall for skip connections, which learn "
            "fastest because they have nothing to learn. A search that keeps many more of them "
            "than chance would deserves mistrust."
        ),
    ]
    blocks: list[Figure] = []
    if run.chosen is not None:
        count = skip_count(run.space, run.chosen)
        verdict = (
            "more than in 95 % of random networks"
            if count.found > count.high
            else "no more than chance would give"
        )
        words.append(
            f"The chosen network has {count.found} skip connection"
            f"{'' if count.found == 1 else 's'}, {verdict}: {count.draws:,} random networks have "
            f"{count.mean:.1f} on average, nine in ten of them {count.low:g} to {count.high:g}."
        )
    if len(stages) > 1:
        most = stages[0].decisions
        chart = Chart(
            "Decisions whose skip connection survives",
            f"After {stages[-1].stage} stages {stages[-1].surviving} of {most}; pruning at random "
            f"would leave {stages[-1].by_chance:.1f}.",
            Axis("stage", 0, stages[-1].stage, "{:g}".format, whole=True),
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
        table = Table(
            "skips",
            "Skip connections after each stage",
            (
                Column("stage", "count"),
                Column("surviving", "count"),
                Column("by chance", "number"),
                Column("standard deviation", "number"),
                Column("expected in a network", "number"),
                Column("under uniform", "number"),
            ),
            tuple(
                (s.stage, s.surviving, s.by_chance, s.spread, s.expected, s.uniform) for s in stages
            ),
            folded=True,
        )
        legend = (
            Legend(1, "circle", "this search"),
            Legend(6, "dashed", "pruning at random, with two standard deviations"),
        )
        caption = "Number of decisions that still offer a skip connection."
        blocks.append(Figure(chart.text(), caption, legend, table))
    return Section("skips", "Skip connections", tuple(words), tuple(blocks))
