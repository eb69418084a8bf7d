"""The sections on the search: what was searched, how it went, what it learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby

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
)
from ddpnas.report.measures import pruned_after, skip_count, skip_stages, time_spent
from ddpnas.report.svg import Axis, Chart, picture, shade
from ddpnas.report.view import View

__all__ = ["accuracy", "distribution", "effects", "searched", "skips", "time"]

_MOST_EFFECTS = 30


def searched(view: View) -> Section:
    """Return what was searched, on what, and how."""
    run = view.run
    options = {k: v for k, v in run.config["space_options"].items()}
    facts = [Fact("space", str(run.config["space"]))]
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
    strategy = str(run.config["strategy"])
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
    words = (
        (
            "Every architecture was trained for one epoch as a path through shared weights and "
            "then scored on the validation images. The test images took no part."
        ),
    )
    return Section("searched", "What was searched", words, (Facts(tuple(facts)),))


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
    scores = [record["score"] for record in run.history]
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
        there = list(records)
        start, end = there[0][0], there[-1][0] + 1
        chart.band(start, end, f"stage {stage + 1}", shaded=stage % 2 == 1)
        mean = math.fsum(r["score"] for _, r in there) / len(there)
        means.append((start, end, mean))
    for start, end, mean in means:
        if math.isfinite(mean):
            chart.line([(start, mean), (end, mean)], 2)
    text = (view.space or run.space).format
    for i, record in enumerate(run.history):
        if math.isfinite(record["score"]):
            title = f"{i + 1}: {percent(record['score'])}, {text(record['architecture'])}"
            chart.dot(i + 0.5, record["score"], 1, title)
    optional = (Column("loss", "number"), Column("lr", "number"), Column("seconds", "seconds"))
    measured = [c for c in optional if all(c.name in record for record in run.history)]
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
                record["score"],
                *(record[column.name] for column in measured),
                text(record["architecture"]),
            )
            for i, record in enumerate(run.history)
        ),
        folded=True,
    )
    words = (
        (
            "Weights are shared and go on learning, so later scores are higher for that reason "
            "too: scores are comparable within a stage, not across all of them."
        ),
    )
    figure = Figure(
        chart.text(),
        "Accuracy on the validation images, with the mean of each stage.",
        (Legend(1, "circle", "one architecture"), Legend(2, "line", "mean of the stage")),
        table,
    )
    return Section("accuracy", "How the search went", words, (figure,))


def distribution(view: View) -> Section | None:
    """Return the probabilities of all options by stage, with what was pruned."""
    run = view.run
    if len(run.stages) < 2:
        return None
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, decision in enumerate(run.space.decisions):
        groups.setdefault(decision.options, []).append(i)
    pictures = [
        Figure(_theta_map(view, options, members), "", wide=len(members) > 12)
        for options, members in groups.items()
    ]
    table = Table(
        "distribution",
        "Probability of every option at the end",
        (
            Column("decision"),
            Column("option"),
            Column("probability", "number"),
            Column("pruned after stage", "count"),
            *(Column(f"stage {stage.number}", "number") for stage in run.stages[1:]),
        ),
        tuple(
            (
                decision.name,
                option,
                float(run.distribution.rows[i][k]),
                pruned_after(run, decision.name, option),
                *(float(stage.distribution.rows[i][k]) for stage in run.stages[1:]),
            )
            for i, decision in enumerate(run.space.decisions)
            for k, option in enumerate(decision.options)
        ),
        folded=True,
    )
    last = pictures[-1]
    pictures[-1] = Figure(
        last.svg,
        "A row for each decision, a column for each option. In a field, time goes from left to "
        "right, a block a stage. A cross marks the stage after which the option was pruned, a "
        "frame what survived.",
        tuple(Legend(1, f"heat {p}", f"{p:g}") for p in (0.05, 0.2, 0.5, 1.0)),
        table,
        last.wide,
    )
    words = (
        (
            "The search keeps a probability for every option of every decision and prunes the "
            "least probable option of each decision stage by stage."
        ),
    )
    return Section("distribution", "What the search learned", words, tuple(pictures))


def _theta_map(view: View, options: tuple[str, ...], members: list[int]) -> str:
    """Return the heat map of the decisions that have these options."""
    run = view.run
    stages = run.stages
    names = [run.space.decisions[i].name for i in members]
    left = min(150, 14 + 7.2 * max(map(len, names)))
    head = min(110, 16 + 5.2 * max(map(len, options)))
    cell = max(18.0, min(86.0, (470 - left) / len(options)))
    row = 20 if len(members) > 12 else 24
    block = (cell - 6) / len(stages)
    parts = []
    for k, option in enumerate(options):
        x = left + (k + 0.5) * cell
        parts.append(
            f'<text class="tick" transform="translate({x:.1f} {head - 7:.1f}) rotate(-38)">'
            f"{escape(_short(option, 20))}</text>"
        )
    for r, i in enumerate(members):
        decision = run.space.decisions[i]
        y = head + r * row
        parts.append(
            f'<text class="tick" x="{left - 7:.1f}" y="{y + row / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(_short(decision.name, 20))}</text>"
        )
        for k, option in enumerate(options):
            x = left + k * cell + 3
            gone = pruned_after(run, decision.name, option)
            history = [float(stage.distribution.rows[i][k]) for stage in stages]
            said = ", ".join(f"{p:.2f}" for p in history)
            fate = "survived" if gone is None else f"pruned after stage {gone}"
            parts.append(
                f"<g><title>{escape(decision.name)} = {escape(option)}: {said}; {fate}</title>"
                f'<rect class="field" x="{x:.1f}" y="{y + 2:.1f}" width="{cell - 6:.1f}" '
                f'height="{row - 4}"/>'
            )
            for s, probability in enumerate(history):
                at = x + s * block
                if gone is not None and stages[s].number >= gone:
                    middle, half = at + block / 2, min(3.2, block / 2)
                    if stages[s].number == gone:
                        parts.append(
                            f'<path class="gone" d="M{middle - half:.1f} '
                            f"{y + row / 2 - half:.1f}l{2 * half:.1f} {2 * half:.1f}m0 "
                            f'{-2 * half:.1f}l{-2 * half:.1f} {2 * half:.1f}"/>'
                        )
                    continue
                parts.append(
                    f'<rect class="heat" style="--p:{shade(probability):.2f}" x="{at:.1f}" '
                    f'y="{y + 2:.1f}" width="{block + 0.2:.1f}" height="{row - 4}"/>'
                )
            if gone is None:
                parts.append(
                    f'<rect class="kept" x="{x:.1f}" y="{y + 2:.1f}" width="{cell - 6:.1f}" '
                    f'height="{row - 4}"/>'
                )
            parts.append("</g>")
    over = max(12.0, 5.9 * min(20, len(options[-1])) - cell / 2)
    width, height = left + len(options) * cell + over, head + len(members) * row + 4
    return picture(
        width,
        height,
        "".join(parts),
        "Probability of every option by stage",
        f"{len(members)} decisions with {len(options)} options each over {len(stages) - 1} "
        f"stages; the same numbers are in the table below.",
        "map",
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


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
        Axis("percentage points", -100 * reach, 100 * reach, "{:+g}".format, pad=0.02),
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
        names.append((y, _short(f"{effect.decision} {effect.option}", 25)))
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
    legend = [Legend(1, "circle", "chosen"), Legend(6, "ring", "not chosen")]
    figure = Figure(chart.text(names), caption, tuple(legend), table)
    return Section("effects", "What the choices are worth", words, (figure,))


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
