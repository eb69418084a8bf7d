"""draw(): an architecture as an SVG picture, a cell as a graph or a chain as boxes.

Decisions named as edges, ``2<-0`` or ``normal.2<-0``, make a cell: nodes in a row, an arc for
every edge that is something. Others make a chain of boxes in rows. Cells are laid out by
Graphviz's ``dot`` where that program is installed, otherwise in a layout of our own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.utils.text_width import fitted

__all__ = ["Picture", "draw"]

_EDGE = re.compile(r"(?:(.+)\.)?(\d+)<-(\d+)")
_FONT = 'font-family="sans-serif" font-size="12"'
_NOTHING = ("none", "skip", "nothing")
_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb5566", "#004488")
_GREY = "#999999"
_BOX, _GAP, _PER_ROW = (150, 40), 24, 6
_NODE, _STEP = 15, 190


class Picture(str):
    """The text of an SVG image, which a notebook shows as the image."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def draw(
    space: DecisionSpace,
    architecture: Mapping[str, str],
    layout: Literal["auto", "graphviz", "own"] = "auto",
) -> Picture:
    """Return the picture of an architecture.

    Args:
        space: Decisions; colours follow the order of the options, grey is "no connection".
        architecture: An option for every decision.
        layout: Layout of cells. "auto" uses Graphviz if its program ``dot`` is installed.

    Raises:
        OptionError: Layout "graphviz" without the program.

    Example:
        >>> from ddpnas import create_space
        >>> space = create_space("toy")
        >>> picture = draw(space, {d.name: "conv3" for d in space.decisions}, "own")
        >>> picture.startswith("<svg")
        True
    """
    dot = shutil.which("dot")
    if layout == "graphviz" and dot is None:
        raise OptionError("layout 'graphviz' needs the program dot of Graphviz; or give 'own'")
    edges = [_EDGE.fullmatch(decision.name) for decision in space.decisions]
    if all(edges):
        cells: dict[str, list[tuple[int, int, Decision]]] = {}
        for match, decision in zip(edges, space.decisions, strict=True):
            assert match is not None
            cell, node, source = match.groups()
            cells.setdefault(cell or "", []).append((int(node), int(source), decision))
        if dot is not None and layout != "own":
            return _graphviz(dot, cells, architecture)
        parts, top, width = [], 0.0, 0.0
        for name, cell_edges in cells.items():
            body, cell_width, height = _cell(name, cell_edges, architecture)
            parts.append(f'<g transform="translate(0 {top:g})">{body}</g>')
            top, width = top + height, max(width, cell_width)
        return _svg(parts, width, top)
    return _chain(space, architecture)


def _graphviz(
    dot: str,
    cells: Mapping[str, Sequence[tuple[int, int, Decision]]],
    architecture: Mapping[str, str],
) -> Picture:
    """Return the cells as laid out by Graphviz."""
    lines = ["digraph {", "rankdir=LR; fontname=sans; node [shape=circle fontname=sans];"]
    lines.append("edge [fontname=sans fontsize=12 penwidth=1.5];")
    for number, (name, edges) in enumerate(cells.items()):
        lines.append(f"subgraph cluster{number} {{ label={_quoted(name)}; color=none;")
        lines += [
            f'n{number}_{n} [label="{n}"];' for n in sorted({n for e in edges for n in e[:2]})
        ]
        for node, source, decision in edges:
            option = architecture[decision.name]
            if option != "none":
                color = _color(decision, option)
                lines.append(
                    f"n{number}_{source} -> n{number}_{node} [label={_quoted(option)} "
                    f'color="{color}" fontcolor="{color}"];'
                )
        lines.append("}")
    text = "\n".join([*lines, "}"])
    done = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True, check=True)
    return Picture(done.stdout[done.stdout.index("<svg") :])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cell(
    name: str, edges: Sequence[tuple[int, int, Decision]], architecture: Mapping[str, str]
) -> tuple[str, float, float]:
    """Return (elements, width, height): nodes in a row, arcs above and below in turn."""
    nodes = sorted({node for edge in edges for node in edge[:2]})
    place = {node: 40.0 + i * _STEP for i, node in enumerate(nodes)}
    shown = [
        (node, source, decision, architecture[decision.name])
        for node, source, decision in edges
        if architecture[decision.name] != "none"
    ]
    reach = max((nodes.index(n) - nodes.index(s) for n, s, _, _ in shown), default=1)
    rise = 34.0 * reach
    middle = rise + 40.0
    parts = [f'<text x="8" y="16" {_FONT} font-weight="bold">{escape(name)}</text>'] if name else []
    for node, source, decision, option in shown:
        span = nodes.index(node) - nodes.index(source)
        side = -1 if (node + source) % 2 else 1
        bend = 0.0 if span == 1 else side * (34.0 * span + 20.0)
        start, end = place[source] + _NODE, place[node] - _NODE - 4
        color = _color(decision, option)
        parts.append(
            f'<path d="M{start:g} {middle:g} Q{(start + end) / 2:g} {middle + 2 * bend:g} {end:g} '
            f'{middle:g}" fill="none" stroke="{color}" stroke-width="2" '
            f'marker-end="url(#arrow)"/>'
            f'<text x="{(start + end) / 2:g}" y="{middle + bend - 5:g}" {_FONT} '
            f'text-anchor="middle" fill="{color}">{_label(option, end - start)}</text>'
        )
    for node in nodes:
        parts.append(
            f'<circle cx="{place[node]:g}" cy="{middle:g}" r="{_NODE}" fill="white" '
            f'stroke="black"/><text x="{place[node]:g}" y="{middle + 4:g}" {_FONT} '
            f'text-anchor="middle">{node}</text>'
        )
    return "".join(parts), place[nodes[-1]] + 40.0, 2 * middle


def _chain(space: DecisionSpace, architecture: Mapping[str, str]) -> Picture:
    """Return boxes in rows, in the order of the decisions that matter, joined by lines."""
    active = set(space.active(architecture))
    decisions = [decision for decision in space.decisions if decision.name in active]
    width, height = _BOX
    parts = []
    for i, decision in enumerate(decisions):
        row, column = divmod(i, _PER_ROW)
        x, y = _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)
        option = architecture[decision.name]
        if column > 0:
            parts.append(
                f'<path d="M{x - _GAP} {y + height / 2:g} h{_GAP - 4}" stroke="black" '
                f'marker-end="url(#arrow)"/>'
            )
        dashes = ' stroke-dasharray="4 3"' if option in _NOTHING or decision.active_when else ""
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="white" '
            f'stroke="{_color(decision, option)}" stroke-width="2"{dashes}/>'
            f'<text x="{x + width / 2:g}" y="{y + 16}" {_FONT} text-anchor="middle" '
            f'fill="#555555">{_label(decision.name, width)}</text>'
            f'<text x="{x + width / 2:g}" y="{y + 32}" {_FONT} text-anchor="middle" '
            f'font-weight="bold">{_label(option, width)}</text>'
        )
    columns, rows = min(len(decisions), _PER_ROW), -(-len(decisions) // _PER_ROW)
    return _svg(parts, _GAP + columns * (width + _GAP), _GAP + rows * (height + _GAP))


def _label(name: str, width: float) -> str:
    """Return the content of a text element; a name that is too long shows when pointed at."""
    shown = fitted(name, width - 6)
    return escape(shown) if shown == name else f"{escape(shown)}<title>{escape(name)}</title>"


def _color(decision: Decision, option: str) -> str:
    if option in _NOTHING:
        return _GREY
    return _COLORS[decision.options.index(option) % len(_COLORS)]


def _svg(parts: Sequence[str], width: float, height: float) -> Picture:
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}"><defs><marker id="arrow" viewBox="0 0 8 8" '
        f'refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
