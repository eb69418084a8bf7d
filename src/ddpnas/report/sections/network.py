"""What the page answers first, and the section on the network: picture, choices, costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import View
from ddpnas.report.blocks import (
    Block,
    Column,
    Fact,
    Facts,
    Figure,
    Headline,
    Section,
    Table,
    Tile,
    amount,
    duration,
    percent,
)
from ddpnas.report.data import said_path
from ddpnas.report.measures import mean_and_spread, time_spent
from ddpnas.space.drawing import draw
from ddpnas.training.results import Compared, Comparison

__all__ = ["headline", "network", "training_words"]

_LABELS = {"macs": "multiply-adds", "params": "parameters", "latency_ms": "latency in ms"}
_SPLITS = {"test": "test", "valid": "validation"}


def headline(view: View) -> Headline:
    """Return the answer: the network, its accuracy beside random ones, its costs in the limits."""
    run = view.run
    tiles: list[Tile] = []
    if run.trained is not None:
        tiles += _accuracy_tiles(run.trained)
    elif run.history:
        best = max(run.accuracies)
        name = "best so far" if not run.finished else "best in the search"
        note = "validation accuracy"
        if run.shared:
            note += " on shared weights; not yet trained by itself"
        tiles.append(Tile(name, percent(best), best, note))
    for name, value in view.chosen_costs.items():
        if name in run.limits or name in _LABELS:
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
            "run": said_path(run.path),
            "space": run.space_name,
            "strategy": run.strategy_name,
            "started": str(run.made_with.get("started", "")).replace("T", " ")[:16],
        },
    )


def _status(view: View) -> str:
    run = view.run
    if run.finished:
        return "finished"
    total = f" of {run.planned}" if run.planned is not None else ""
    return f"unfinished: {len(run.history)}{total} architectures scored"


def _accuracy_tiles(trained: Comparison) -> list[Tile]:
    found = trained.found
    split, accuracy = _SPLITS[found.evaluation.split], found.evaluation.accuracy
    tiles = [Tile("found network", percent(accuracy), accuracy, f"{split} accuracy")]
    for name, networks in (
        ("random networks", trained.random),
        ("random, same size", trained.same_size),
    ):
        if networks:
            mean, spread = mean_and_spread([n.evaluation.accuracy for n in networks])
            pm = f" \u00b1 {100 * spread:.2f}" if len(networks) > 1 else ""
            note = f"mean{' and standard deviation' if pm else ''} of {len(networks)}"
            tiles.append(Tile(name, f"{100 * mean:.2f}{pm} %", mean, note))
    return tiles


def _cost_tile(view: View, name: str, value: float) -> Tile:
    limit = view.run.limits.get(name, Limit())
    unit = _LABELS.get(name) or view.units.get(name, name)
    least = f"at least {amount(limit.lower)}" if math.isfinite(limit.lower) else ""
    if math.isinf(limit.upper):
        return Tile(unit, amount(value), value, least or "no limit was set")
    share = value / limit.upper if limit.upper > 0 else None
    most = f"limit {amount(limit.upper)}"
    return Tile(unit, amount(value), value, f"{least}, {most}" if least else most, share)


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


def training_words(trained: Comparison, limited: bool) -> list[str]:
    """Return in words how the found network compares with the random ones."""
    found = trained.found
    epochs = found.result.recipe.epochs
    split = _SPLITS[found.evaluation.split]
    says = [
        (
            f"Trained from scratch for {epochs} epochs, the found network gets "
            f"{percent(found.evaluation.accuracy)} of the {split} images right."
        )
    ]
    within = " within the same limits" if limited else ""
    if trained.random:
        says.append(_beside(found, trained.random, f"{within}, trained alike"))
    if trained.same_size:
        says.append(_beside(found, trained.same_size, f"{within} and of about its size"))
    compared = [len(group) for group in (trained.random, trained.same_size) if group]
    if compared and min(compared) < 5:
        says.append("So few are an indication, not a proof.")
    return says


def _beside(found: Compared, others: Sequence[Compared], which: str) -> str:
    """Return the sentence that compares the found network with others."""
    mean, _ = mean_and_spread([n.evaluation.accuracy for n in others])
    number = len(others)
    beaten = sum(found.evaluation.accuracy > n.evaluation.accuracy for n in others)
    of_them = "all" if beaten == number else "none" if beaten == 0 else str(beaten)
    better = "better" if found.evaluation.accuracy > mean else "not better"
    return (
        f"That is {better} than the mean of {number} random network{'s' if number > 1 else ''}"
        f"{which} ({percent(mean)}), and better than {of_them} of them."
    )


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
        proof, place = run.generated["certificate"], run.generated.get("chosen", 0)
        facts.append(Fact("log probability", f"{run.generated['log_prob']:.4g}",
                          run.generated["log_prob"]))  # fmt: skip
        ahead = "any better one" if place == 0 else f"any better one but the {place} before it"
        facts.append(Fact("proof", f"the solver's gap to {ahead} is {proof['gap']:.1g}"))
    if rescored := _rescored(run.generated or {}):
        facts.append(
            Fact("chosen by", f"the search's score, of the {len(rescored.rows)} most likely")
        )
    blocks.append(Facts(tuple(facts)))
    if rescored:
        blocks.append(rescored)
    if view.chosen_costs:
        blocks.append(_cost_table(view))
    return Section("network", "The network", (), tuple(blocks))


def _rescored(generated: Mapping[str, Any]) -> Table | None:
    """Return the candidates that were scored again, the likeliest first; None where none was."""
    candidates = generated.get("top", [generated])[: generated.get("rescored", 0)]
    if not candidates:
        return None
    return Table(
        "rescored",
        "The most likely networks within the limits, scored again",
        (
            Column("number", "count"),
            Column("log probability", "number"),
            Column("score", "number"),
            Column("validation accuracy", "percent"),
            Column("architecture"),
        ),
        tuple(
            (i, one["log_prob"], one["score"], one["accuracy"], one["text"])
            for i, one in enumerate(candidates, start=1)
        ),
        folded=True,
    )


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
    lower = any(math.isfinite(limit.lower) for limit in limits.values())
    rows = []
    for name, value in view.chosen_costs.items():
        limit = limits.get(name, Limit())
        low = limit.lower if math.isfinite(limit.lower) else None
        high = limit.upper if math.isfinite(limit.upper) else None
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
