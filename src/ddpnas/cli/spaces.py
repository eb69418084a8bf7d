"""``ddpnas spaces NAME``: decisions, size and costs of a space, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ddpnas.cli import _show as show
from ddpnas.costs.count import count_costs
from ddpnas.errors import OptionError, nearest
from ddpnas.generation.best import generate
from ddpnas.generation.cost_ranges import cost_ranges
from ddpnas.generation.limits import Limit, amount
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import without_folders
from ddpnas.spaces.registry import takes_limits

__all__ = ["show_space"]


def show_space(space: SearchSpace, limits: Mapping[str, Limit]) -> None:
    """Print decisions, size, costs and defaults of a space, and whether the limits can be met.

    Args:
        space: The space, at the size that is profiled.
        limits: Limits by name of the cost.

    Raises:
        OptionError: If a limit is on a cost that is not counted.
        InfeasibleError: If no architecture meets the limits; the message names the lowest
            reachable costs.
    """
    costs = count_costs(space)
    if unknown := [name for name in limits if name not in costs]:
        raise OptionError(
            f"{nearest('limit', unknown[0], costs)}; limit another cost of networks that were "
            f"searched: `ddpnas generate RUN --costs TABLE.json`"
        )
    _decisions(space)
    show.line(_size(space))
    show.line(f"search network: {_listed(space.plain_options)}")
    if limits and takes_limits(str(space.name)):
        show.line(
            "its sizes follow from the limits; the costs of its networks lie on both sides of them:"
        )
    if space.final_options:
        size = [
            f"--space-options.{n.replace('_', '-')} {v}" for n, v in space.final_options.items()
        ]
        show.line(
            f"final network:  {_listed(space.final_options)}; for its costs and limits on them:"
        )
        show.line(f"                ddpnas spaces {space.name} {' '.join(size)}")
    ranges = cost_ranges(space, costs)
    rows = [
        [r.name, *(amount(value) for value in (r.least, r.median, r.most)), r.unit] for r in ranges
    ]
    title = (
        f"costs of the search network: exact minimum and maximum, median of "
        f"{ranges[0].samples:,} random architectures"
    )
    show.table(["cost", "minimum", "median", "maximum", "unit"], rows, title=title)
    if limits:
        uniform = JointDistribution.uniform(space.decisions)
        found = generate(uniform, space, limits, costs)
        reached = ", ".join(f"{cost} {amount(value)}" for cost, value in found.costs.items())
        words = ", ".join(f"{name} {limit.describe()}" for name, limit in limits.items())
        show.line(f"{words}: possible, for example with {reached}:")
        show.line(space.format(found.architecture))


def _decisions(space: SearchSpace) -> None:
    """Print one row for each set of decisions that have the same options."""
    options = Counter(decision.options for decision in space.decisions)
    rows = []
    for names, count in options.items():
        first, *others = (d.name for d in space.decisions if d.options == names)
        decisions = f"{first} ... {others[-1]}" if others else first
        rows.append([decisions, str(count), ", ".join(names)])
    number = len(space.decisions)
    title = f"{without_folders(str(space.name))}: {number} decision{'s' * (number != 1)}"
    show.table(["decisions", "count", "options"], rows, title=title)


def _size(space: SearchSpace) -> str:
    """Return the number of architectures and, if there are rules, how many obey them."""
    size = f"{space.size:,} architectures"
    if not space.rules:
        return size
    valid = "some" if space.valid_size is None else f"{space.valid_size:,}"
    rules = [rule.says for rule in space.rules]
    more = f" (and {len(rules) - 1} similar rules)" if len(rules) > 1 else ""
    return f"{size}, of which {valid} obey the rules: {rules[0]}{more}"


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
