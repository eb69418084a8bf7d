"""The sections that answer: which network is it, what does it cost, and is there another one?"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import (
    Block,
    Column,
    Commands,
    DataTable,
    Fact,
    Facts,
    Figure,
    Section,
)
from ddpnas.report.commands import command, said_path, user_code_words
from ddpnas.runs.networks import RunNetwork
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.drawing import draw

__all__ = ["network_section", "trained_network_section", "untrained_section"]

_UNTRAINED = (
    "This network was generated after the training above and differs from the trained one. The "
    "accuracies on this page are not those of this network."
)
_GIVEN = (
    "This architecture was given to the training. It is not the one that the search found or that "
    "was generated from it."
)


def network_section(view: View) -> Section | None:
    """Return the network that the report is about: picture, text, choices and costs."""
    network = view.network
    if network is None:
        return None
    figure = _picture(view.run.decision_space, network.architecture, view.run.distribution)
    rescored = _rescored(network.generated or {})
    blocks: list[Block] = [figure, Facts(_facts(network))]
    if rescored is not None:
        blocks.append(rescored)
    if view.network_costs:
        blocks.append(_cost_table("costs", view.network_costs, network.limits, view.units))
    words = (_GIVEN,) if network.origin == "given" and view.run.finished else ()
    return Section("network", "The network", words, tuple(blocks))


def trained_network_section(view: TrainedView) -> Section:
    """Return a network of which only the training is known: picture, text, choices and costs."""
    network = view.network
    blocks: list[Block] = []
    if view.space is not None:
        blocks.append(_picture(view.space, network.architecture))
    if network.text:
        blocks.append(Facts(_facts(network)))
    blocks.append(_cost_table("costs", view.network_costs, network.limits, view.units))
    return Section("network", "The network", (), tuple(blocks))


def untrained_section(view: View) -> Section | None:
    """Return the network that was generated after the training; None if there is no such one."""
    network = view.run.untrained
    if network is None:
        return None
    folder, own = said_path(view.run.path), user_code_words("space", view.run.space_name)
    blocks: tuple[Block, ...] = (
        Facts(_facts(network)),
        _cost_table("untrained_costs", network.costs, network.limits, view.units),
        Commands("In a shell", (command("train", folder, *own, "--out", f"{folder}-trained"),)),
    )
    return Section("untrained", "Not trained yet", (_UNTRAINED,), blocks)


def _picture(
    space: DecisionSpace, chosen: Architecture, learned: JointDistribution | None = None
) -> Figure:
    """Return the drawing of an architecture, with its choices as a table.

    Args:
        space: The decisions.
        chosen: A choice for each of them.
        learned: What a search learned, for the probability and the fate of each choice.
    """
    rows: list[tuple[Any, ...]] = []
    active = set(space.active(chosen))
    for i, decision in enumerate(space.decisions):
        option = chosen[decision.name]
        known: tuple[Any, ...] = ()
        if decision.name not in active:
            continue
        if learned is not None:
            survived = option in learned.survivors[decision.name]
            fate = "survived" if survived else "pruned"
            known = (float(learned.rows[i][decision.index(option)]), fate)
        rows.append((decision.name, option, *known))
    columns = [Column("decision"), Column("choice")]
    if learned is not None:
        columns += [Column("probability", "number"), Column("fate")]
    return Figure(
        _labelled(
            str(draw(space, chosen)),
            f"{len(rows)} decisions; the table below lists each choice.",
        ),
        "Each option has its color. Grey stands for no operation or a plain connection.",
        table=DataTable(
            "architecture", "Choices of the network", tuple(columns), tuple(rows), folded=True
        ),
        wide=True,
    )


def _facts(network: RunNetwork) -> tuple[Fact, ...]:
    """Return the text form, and how the network was chosen."""
    facts = [Fact("text form", network.text)]
    generated = network.generated
    if generated is not None:
        log_prob, gap = generated["log_prob"], generated["certificate"]["gap"]
        if log_prob is not None:  # None where an option has probability 0
            facts.append(Fact("log probability", f"{log_prob:.4g}", log_prob))
        place = generated.get("chosen", 0)
        ahead = "no network" if place == 0 else f"at most {place} network{'s' * (place > 1)}"
        within = " within the limits" if network.limits else ""
        verb = "are" if place > 1 else "is"
        facts.append(Fact("proof", f"{ahead}{within} {verb} better (solver gap {gap:.1g})"))
        if (number := generated.get("rescored", 0)) > 1:
            facts.append(
                Fact("chosen by", f"the highest score of the {number} most likely networks")
            )
    return tuple(facts)


def _rescored(generated: Mapping[str, Any]) -> DataTable | None:
    """Return the candidates that were scored again, most likely first; None if there are none."""
    candidates = generated.get("top", [])[: generated.get("rescored", 0)]
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
            (i, one["log_prob"], one["score"], one.get("accuracy"), one["text"])
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


def _cost_table(
    table: str, costs: Mapping[str, float], limits: Mapping[str, Limit], units: Mapping[str, str]
) -> DataTable:
    """Return what the network costs and how much of each limit is left.

    Args:
        table: Name of the CSV file.
        costs: Costs by name.
        limits: Limits by name of the cost.
        units: Units by name of the cost.
    """
    lower = any(math.isfinite(limit.lower) for limit in limits.values())
    rows = []
    for name, value in costs.items():
        limit = limits.get(name, Limit())
        low = limit.lower if math.isfinite(limit.lower) else None
        high = limit.upper if math.isfinite(limit.upper) else None
        margin = high - value if high is not None else None
        unit = units.get(name, "")
        rows.append((name, value, *([low] if lower else []), high, margin, unit))
    return DataTable(
        table,
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
