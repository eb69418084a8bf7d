"""The section that answers: what did the search learn about each option?"""

from __future__ import annotations

import math
from html import escape

from ddpnas.report.analysis import View
from ddpnas.report.blocks import Column, DataTable, Figure, Legend, Section
from ddpnas.report.measures import pruned_after
from ddpnas.report.svg import shade, svg_image
from ddpnas.utils.text_width import fitted, text_width

__all__ = ["distribution_section"]

_WIDEST_NAME = 150  # pixels, of a decision or an option
_SLOPE = 38  # degrees, of the names of the options


def distribution_section(view: View) -> Section | None:
    """Return the probability of every option stage by stage, and what was pruned."""
    run = view.run
    if len(run.stages) < 2:
        return None
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, decision in enumerate(run.decision_space.decisions):
        groups.setdefault(decision.options, []).append(i)
    pictures = [
        Figure(_theta_map(view, options, members), "", wide=len(members) > 12)
        for options, members in groups.items()
    ]
    table = DataTable(
        "distribution",
        "Probability of every option at the end and after each stage",
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
            for i, decision in enumerate(run.decision_space.decisions)
            for k, option in enumerate(decision.options)
        ),
        folded=True,
    )
    # The caption, the legend and the table belong to all maps: they follow the last one.
    last = pictures[-1]
    pictures[-1] = Figure(
        last.svg,
        "Rows are decisions, columns are options. In each field, time runs from left to right, one "
        "block per stage. A cross marks the stage after which the option was pruned; a frame marks "
        "an option that survived.",
        tuple(Legend(1, f"heat {p}", f"{p:g}") for p in (0.05, 0.2, 0.5, 1.0)),
        table,
        last.wide,
    )
    words = (
        (
            "The search keeps a probability for every option of every decision. After each stage "
            "it prunes options with a low probability."
        ),
    )
    return Section("distribution", "What the search learned", words, tuple(pictures))


def _theta_map(view: View, options: tuple[str, ...], members: list[int]) -> str:
    """Return the heat map of the decisions that have these options."""
    run = view.run
    stages = run.stages
    names = [run.decision_space.decisions[i].name for i in members]
    left = min(_WIDEST_NAME, max(map(text_width, names))) + 14
    heads = [fitted(option, _WIDEST_NAME) for option in options]
    slope = math.radians(_SLOPE)
    head = 16 + math.sin(slope) * max(map(text_width, heads))
    cell = max(22.0, min(86.0, (470 - left) / len(options)))
    row = 20 if len(members) > 12 else 24
    parts = []
    for k, option in enumerate(heads):
        x = left + (k + 0.5) * cell
        parts.append(
            f'<text class="tick" transform="translate({x:.1f} {head - 7:.1f}) rotate(-{_SLOPE})">'
            f"{escape(option)}</text>"
        )
    for r, i in enumerate(members):
        decision = run.decision_space.decisions[i]
        y = head + r * row
        parts.append(
            f'<text class="tick" x="{left - 7:.1f}" y="{y + row / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(fitted(decision.name, left - 14))}</text>"
        )
        for k, option in enumerate(options):
            x = left + k * cell + 3
            gone = pruned_after(run, decision.name, option)
            history = [float(stage.distribution.rows[i][k]) for stage in stages]
            said = ", ".join(f"{p:.2f}" for p in history)
            fate = "survived" if gone is None else f"pruned after stage {gone}"
            parts.append(
                f"<g><title>{escape(decision.name)} = {escape(option)}: {said}; {fate}</title>"
            )
            left_at = None if gone is None else [stage.number for stage in stages].index(gone)
            parts.append(_field(history, left_at, x, y, cell - 6, row))
            parts.append("</g>")
    ends = [
        math.cos(slope) * text_width(option) - (len(heads) - k - 0.5) * cell
        for k, option in enumerate(heads)
    ]
    over = max(12.0, *ends)
    width, height = left + len(options) * cell + over, head + len(members) * row + 4
    return svg_image(
        width,
        height,
        "".join(parts),
        "Probability of every option by stage",
        f"{len(members)} decisions with {len(options)} options each over {len(stages) - 1} "
        f"stages; the table below has the same numbers.",
        "map",
    )


def _field(
    history: list[float], pruned: int | None, x: float, y: float, width: float, row: int
) -> str:
    """Return the field of an option: a block for each stage, then a cross if it was pruned.

    Args:
        history: Its probability in each stage.
        pruned: Index of the stage after which it was pruned; None if it survived.
        x: Left end of the field.
        y: Top of its row.
        width: Width of the field.
        row: Height of its row.
    """
    frame = f'x="{x:.1f}" y="{y + 2:.1f}" width="{width:.1f}" height="{row - 4}"/>'
    parts = [f'<rect class="field" {frame}']
    block = width / len(history)
    for s, probability in enumerate(history[:pruned]):
        parts.append(
            f'<rect class="heat" style="--p:{shade(probability):.2f}" x="{x + s * block:.1f}" '
            f'y="{y + 2:.1f}" width="{block + 0.2:.1f}" height="{row - 4}"/>'
        )
    if pruned is None:
        parts.append(f'<rect class="kept" {frame}')
    else:
        middle, half = x + (pruned + 0.5) * block, min(3.2, block / 2)
        parts.append(
            f'<path class="gone" d="M{middle - half:.1f} '
            f"{y + row / 2 - half:.1f}l{2 * half:.1f} {2 * half:.1f}m0 "
            f'{-2 * half:.1f}l{-2 * half:.1f} {2 * half:.1f}"/>'
        )
    return "".join(parts)
