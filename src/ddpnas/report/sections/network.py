"""The section that answers: which network was found, and what does it cost?"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Block, Column, DataTable, Fact, Facts, Figure, Section
from ddpnas.space.decisions import Architecture
from ddpnas.space.drawing import draw

__all__ = ["network_section"]


def network_section(view: View) -> Section | None:
    """Return the chosen architecture: picture, text, choices and costs."""
    chosen = view.run.chosen
    if chosen is None:
        return None
    table = _choices(view, chosen)
    figure = Figure(
        _labelled(
            str(draw(view.run.decision_space, chosen)),
            f"{len(table.rows)} decisions; the table below lists each choice.",
        ),
        "Each option has its color. Grey stands for no operation or a plain connection.",
        table=table,
        wide=True,
    )
    rescored = _rescored(view.run.generated or {})
    blocks: list[Block] = [figure, Facts(_facts(view, rescored))]
    if rescored is not None:
        blocks.append(rescored)
    if view.chosen_costs:
        blocks.append(_cost_table(view))
    return Section("network", "The network", (), tuple(blocks))


def _choices(view: View, chosen: Architecture) -> DataTable:
    """Return the choice, its probability and its fate for each decision that is active."""
    space, distribution = view.run.decision_space, view.run.distribution
    active = set(space.active(chosen))
    rows = []
    for i, decision in enumerate(space.decisions):
        option = chosen[decision.name]
        if decision.name in active:
            probability = float(distribution.rows[i][decision.index(option)])
            survived = option in distribution.survivors[decision.name]
            rows.append((decision.name, option, probability, "survived" if survived else "pruned"))
    columns = (
        Column("decision"),
        Column("choice"),
        Column("probability", "number"),
        Column("fate"),
    )
    return DataTable("architecture", "Choices of the network", columns, tuple(rows), folded=True)


def _facts(view: View, rescored: DataTable | None) -> tuple[Fact, ...]:
    """Return the text form, and how the network was chosen."""
    facts = [Fact("text form", view.run.chosen_text or "")]
    generated = view.run.generated
    if generated is not None:
        log_prob, gap = generated["log_prob"], generated["certificate"]["gap"]
        facts.append(Fact("log probability", f"{log_prob:.4g}", log_prob))
        place = generated.get("chosen", 0)
        ahead = "no network" if place == 0 else f"at most {place} network{'s' * (place > 1)}"
        within = " within the limits" if view.run.limits else ""
        verb = "are" if place > 1 else "is"
        facts.append(Fact("proof", f"{ahead}{within} {verb} better (solver gap {gap:.1g})"))
    if rescored is not None:
        number = len(rescored.rows)
        facts.append(Fact("chosen by", f"the highest score of the {number} most likely networks"))
    return tuple(facts)


def _rescored(generated: Mapping[str, Any]) -> DataTable | None:
    """Return the candidates that were scored again, most likely first; None if there are none."""
    candidates = generated.get("top", [generated])[: generated.get("rescored", 0)]
    if not candidates:
        return None
    return DataTable(
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


def _labelled(svg: str, label: str) -> str:
    """Return a drawing with a label for screen readers, and with its width for the page."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ', svg)
    width = float(box[1]) if box else 600.0
    return svg.replace(
        "<svg ",
        f'<svg class="drawing" style="--w:{width:.0f}" role="img" aria-label="{escape(label)}" ',
        1,
    )


def _cost_table(view: View) -> DataTable:
    limits = view.run.limits
    lower = any(math.isfinite(limit.lower) for limit in limits.values())
    rows = []
    for name, value in view.chosen_costs.items():
        limit = limits.get(name, Limit())
        low = limit.lower if math.isfinite(limit.lower) else None
        high = limit.upper if math.isfinite(limit.upper) else None
        margin = high - value if high is not None else None
        unit = view.units.get(name, "")
        rows.append((name, value, *([low] if lower else []), high, margin, unit))
    return DataTable(
        "costs",
        "Costs and limits",
        (
            Column("cost"),
            Column("value", "amount"),
            *([Column("lower limit", "amount")] if lower else []),
            Column("limit", "amount"),
            Column("margin", "amount"),
            Column("unit"),
        ),
        tuple(rows),
    )
