"""``ddpnas spaces NAME``: what a space holds, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ddpnas.cli import _show as show
from ddpnas.costs.count import count_costs
from ddpnas.generation.best import generate
from ddpnas.generation.cost_ranges import cost_ranges
from ddpnas.generation.limits import Limit
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.registry import named_space

__all__ = ["describe"]


def describe(name: str, options: Mapping[str, Any], limits: Mapping[str, Limit]) -> None:
    """Print decisions, size, costs and defaults of a space, and whether the limits can be met.

    Args:
        name: published, or ``my_file.py:network``.
        options: of the space.
        limits: Cost name -> limit.

    Raises:
        InfeasibleError: the limits cannot be met; it says the least reachable.
    """
    space = named_space(name, options)
    _decisions(space)
    print(_size(space))
    print(f"search network: {_listed(space.plain_options)}")
    if space.final_options:
        size = [
            f"--space-options.{n.replace('_', '-')} {v}" for n, v in space.final_options.items()
        ]
        print(f"final network:  {_listed(space.final_options)}; its costs, and limits on them:")
        print(f"                ddpnas spaces {name} {' '.join(size)}")
    costs = count_costs(space)
    ranges = cost_ranges(space, costs)
    rows = [
        [r.name, *(f"{value:,.0f}" for value in (r.least, r.median, r.most)), r.unit]
        for r in ranges
    ]
    title = (
        f"of the search network: least and most of all; median of {ranges[0].samples:,} random "
        f"architectures"
    )
    show.table(["cost", "least", "median", "most", "unit"], rows, title=title)
    if limits:
        uniform = JointDistribution.uniform(space.decisions)
        found = generate(uniform, space, limits, costs)
        reached = ", ".join(f"{cost} {value:,.0f}" for cost, value in found.costs.items())
        words = ", ".join(f"{name} {limit.describe()}" for name, limit in limits.items())
        print(f"{words} can be met, for instance by ({reached}):")
        print(space.format(found.architecture))


def _decisions(space: SearchSpace) -> None:
    """Print a row for every set of decisions with the same options."""
    options = Counter(decision.options for decision in space.decisions)
    rows = []
    for names, count in options.items():
        first, *others = (d.name for d in space.decisions if d.options == names)
        decisions = f"{first} ... {others[-1]}" if others else first
        rows.append([decisions, str(count), ", ".join(names)])
    show.table(["decisions", "how many", "options"], rows, title=repr(space))


def _size(space: SearchSpace) -> str:
    size = f"{space.size:,} architectures"
    if not space.rules:
        return size
    valid = f", of which {space.valid_size:,} obey" if space.valid_size is not None else " under"
    rules = [rule.says for rule in space.rules]
    more = f" and {len(rules) - 1} rules alike" if len(rules) > 1 else ""
    return f"{size}{valid}: {rules[0]}{more}"


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
