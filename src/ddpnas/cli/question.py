"""What ``ddpnas generate`` and ``ddpnas frontier`` ask: of which run, within what, for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli._options import add_limit, add_space
from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.generation.limits import Limit, parse_limits
from ddpnas.generation.objective import Objective
from ddpnas.runs.resume import run_space
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import Architecture, Rule
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.darts_rules import darts_height, parametric_operations
from ddpnas.strategies.choice_effects import choice_effects

__all__ = ["Question", "add_question", "cell_rules", "read_question"]

OBJECTIVES = ("log-theta", "theta", "expected-score")


@dataclass(frozen=True)
class Question:
    """A run's distribution and space, and what is asked of them.

    Attributes:
        result: of the search.
        space: at the size that is asked about.
        limits: cost name -> limit.
        costs: counted and given tables by name.
        given: the tables that came from files.
        options: further arguments of ``generate``, ``top_k`` and ``frontier``.
    """

    result: SearchResult
    space: SearchSpace
    limits: dict[str, Limit]
    costs: dict[str, CostTable]
    given: list[CostTable]
    options: dict[str, Any]


def add_question(parser: ArgumentParser) -> None:
    """Add the run and everything that is asked of it."""
    parser.add_argument("run", help="folder of a finished search")
    add_limit(parser)
    parser.add_argument(
        "--costs",
        action="append",
        default=[],
        help="JSON file of a further cost table (latency, energy, ...); may be repeated",
    )
    add_space(parser, None)
    parser.add_argument(
        "--objective",
        default="log-theta",
        help="what is maximised: log-theta (the likelihood), theta (its sum, as the authors' "
        "generator) or expected-score (the sum of the choices' fitted effects)",
    )
    parser.add_argument(
        "--survivors-only", action="store_true", help="leave out what the search pruned"
    )
    parser.add_argument(
        "--height",
        type=int,
        help="longest chain of nodes in each cell, at most (the darts space only)",
    )
    parser.add_argument(
        "--parametric",
        type=int,
        help="number of convolutions in each cell, exactly (the darts space only)",
    )


def read_question(options: Namespace) -> Question:
    """Return what the options ask.

    Raises:
        OptionError: an unknown objective, a cost given twice, or a table of another network.
        SpaceError: a table of other choices.
    """
    result = SearchResult.load(options.run)
    limits = parse_limits(options.limit)
    space = run_space(options.run, space=options.space, options=options.space_options)
    costs = count_costs(space)
    given = [_table(path, space) for path in options.costs]
    for table in given:
        if table.name in costs:
            raise OptionError(f"two cost tables are named {table.name!r}; rename one in its file")
        costs[table.name] = table
    further = {
        "objective": _objective(options.objective, space, result.history),
        "survivors_only": options.survivors_only,
        "rules": cell_rules(space, options.height, options.parametric),
    }
    return Question(result, space, limits, costs, given, further)


def _table(path: str, space: SearchSpace) -> CostTable:
    table = CostTable.load(path)
    table.check(space)
    return table


def _objective(name: str, space: SearchSpace, history: Sequence[Mapping[str, Any]]) -> Objective:
    name = name.replace("_", "-")  # as in Python
    if name not in OBJECTIVES:
        raise OptionError(nearest("objective", name, OBJECTIVES))
    if name != "expected-score":
        return name.replace("-", "_")
    architectures = [Architecture(record["architecture"]) for record in history]
    effects = choice_effects(space, architectures, [record["score"] for record in history])
    return {(effect.decision, effect.option): effect.mean for effect in effects}


def cell_rules(space: SearchSpace, height: int | None, parametric: int | None) -> list[Rule]:
    """Return what --height and --parametric ask for; None asks for nothing."""
    rules = []
    if height is not None:
        rules += darts_height(space, height)
    if parametric is not None:
        rules += parametric_operations(space, parametric)
    return rules
