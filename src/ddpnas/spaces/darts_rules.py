"""The authors' options for DARTS cells: how deep they are and how many convolutions they hold.

The generator of the authors' released code keeps two candidates an edge and enumerates the 180
topologies of a cell that have a given height, with a given number of edges that are pooling or
skip. Here both options are linear rules, given to :func:`ddpnas.generate`, ``top_k`` or
``frontier``, which are exact over all operations, both cells and any limits at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace, Rule
from ddpnas.spaces.darts import CELLS, EDGES, NODES

__all__ = ["darts_height", "parametric_operations"]


def darts_height(space: DecisionSpace, height: int, cells: Sequence[str] = CELLS) -> list[Rule]:
    """Return the rules that no node of the cells is higher than ``height``.

    The inputs of a cell have height 0, a node one more than its highest input. As each node has
    inputs, a node is too high exactly where ``height + 1`` nodes stand one upon the other; so
    the edges of no such chain may all be there.

    Args:
        space: The space "darts".
        height: Largest height of a node.
        cells: Cells for which the rules hold.

    Raises:
        OptionError: A height below 1, or a space without the cells of DARTS.

    Example:
        >>> from ddpnas import create_space
        >>> len(darts_height(create_space("darts"), 2, ["normal"]))
        4
    """
    _check(space, cells)
    if height < 1:
        raise OptionError(f"height of a DARTS cell must be at least 1, not {height}")
    rules = []
    for cell in cells:
        for chain in itertools.combinations(NODES, height + 1):
            edges = [f"{cell}.{node}<-{below}" for below, node in itertools.pairwise(chain)]
            weights = {(e, o): 1.0 for e in edges for o in space[e].options if o != "none"}
            says = f"the {cell} cell is at most {height} high (nodes {chain})"
            rules.append(Rule(weights, says, upper=len(edges) - 1.0, final=True))
    return rules


def parametric_operations(
    space: DecisionSpace, number: int, cells: Sequence[str] = CELLS
) -> list[Rule]:
    """Return the rules that exactly ``number`` operations of each cell are convolutions.

    The authors count the others, pooling and skip: they have 8 less this many. (Their skip is
    parameter-free in name only: with stride 2, in a reduction cell, it has weights.)

    Args:
        space: The space "darts".
        number: Number of convolutions in each cell.
        cells: Cells for which the rules hold.

    Raises:
        OptionError: A number outside 0 to 8, or a space without the cells of DARTS.

    Example:
        >>> from ddpnas import create_space
        >>> parametric_operations(create_space("darts"), 5, ["normal"])[0].says
        'the normal cell has exactly 5 parametric operations'
    """
    _check(space, cells)
    if not 0 <= number <= 2 * len(NODES):
        raise OptionError(f"a DARTS cell has 0 to 8 parametric operations, not {number}")
    return [
        Rule(
            {
                (decision.name, option): 1.0
                for decision in space.decisions
                if decision.name.startswith(f"{cell}.")
                for option in decision.options
                if "conv" in option
            },
            f"the {cell} cell has exactly {number} parametric operations",
            lower=float(number),
            upper=float(number),
            final=True,
        )
        for cell in cells
    ]


def _check(space: DecisionSpace, cells: Sequence[str]) -> None:
    for cell in cells:
        if cell not in CELLS:
            raise OptionError(f"the cells of DARTS are {' and '.join(CELLS)}, not {cell!r}")
    names = {decision.name for decision in space.decisions}
    if not names >= {f"{cell}.{node}<-{source}" for cell in cells for node, source in EDGES}:
        raise OptionError("height and number of parametric operations are those of DARTS cells")
