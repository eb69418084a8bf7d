"""Widths to compare a search with, without scores: uniform_widths() and magnitude_widths()."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np

from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError
from ddpnas.generation.best import generate
from ddpnas.generation.limits import Limits, checked_limits, tightened_limits, within
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.importance import class_magnitudes
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution

__all__ = ["CONTROLS", "Control", "magnitude_widths", "uniform_widths"]

Control = Literal["uniform", "random", "magnitude"]
CONTROLS: tuple[Control, ...] = ("uniform", "random")  # those that are compared by default


def uniform_widths(
    space: ShrinkableSpace, limits: Limits, costs: Mapping[str, CostTable]
) -> Architecture:
    """Return the largest equal share of channels in all groups that is within limits.

    Each group takes its widest width that is at most that share of its channels, or its smallest.
    Then groups become one width wider in turn, in the order of the network, as long as they are
    within the limits. Otherwise much of the limits would be left, as shares are few.

    Args:
        space: The widths of a network.
        limits: See :func:`ddpnas.generate`.
        costs: Cost name -> table, one for every limit.

    Raises:
        InfeasibleError: No share is within the limits.

    Example:
        >>> import ddpnas, torch
        >>> layers = torch.nn.Linear(4, 32), torch.nn.Linear(32, 16), torch.nn.Linear(16, 2)
        >>> space = ddpnas.shrinkable(torch.nn.Sequential(*layers), (4,))
        >>> uniform_widths(space, {"params": 250}, ddpnas.count_costs(space))
        Architecture({'0': '16', '1': '8'})
    """
    groups = [group for group in space.groups if group.is_open]
    shares = {width / group.channels for group in groups for width in group.widths}
    tried = (
        {group.name: _at_most(group, share * group.channels) for group in groups}
        for share in sorted(shares, reverse=True)
    )
    found = _first_within(space, tried, limits, costs)
    if found is None:
        raise InfeasibleError(
            "no equal share of channels is within the limits, though unequal shares are"
        )
    return found


def magnitude_widths(
    space: ShrinkableSpace, limits: Limits, costs: Mapping[str, CostTable]
) -> Architecture:
    """Return the widths that one threshold on magnitudes leaves, the largest within limits.

    The magnitude of a channel is the L1 norm of the weights that use it, relative to the mean of
    its group. Each group takes its widest width that has no more channels than are above the
    threshold, or its smallest. Then groups become wider in turn, as in :func:`uniform_widths`.

    Args:
        space: The widths of a network.
        limits: See :func:`ddpnas.generate`.
        costs: Cost name -> table, one for every limit.

    Raises:
        InfeasibleError: No threshold leaves widths within the limits.

    Example:
        >>> import ddpnas, torch
        >>> layers = torch.nn.Linear(4, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 2)
        >>> _ = layers[1].weight.data.fill_(0.1)[:, 8:].fill_(0.001)
        >>> _ = layers[2].weight.data.fill_(0.1)
        >>> space = ddpnas.shrinkable(torch.nn.Sequential(*layers), (4,))
        >>> magnitude_widths(space, {"params": 400}, ddpnas.count_costs(space))
        Architecture({'0': '8', '1': '32'})
    """
    groups = [group for group in space.groups if group.is_open]
    scores = {}
    for group in groups:
        values = np.concatenate(class_magnitudes(space.model, group, "consumers"))
        scores[group.name] = np.sort(values / max(values.mean(), 1e-30))[::-1]
    # Below each of these values, some group has one width more.
    thresholds = {
        scores[group.name][math.ceil(width / group.channels * len(scores[group.name])) - 1]
        for group in groups
        for width in group.widths
    }
    tried = (
        {
            group.name: _at_most(
                group, group.channels * float((scores[group.name] >= threshold).mean())
            )
            for group in groups
        }
        for threshold in sorted(thresholds)
    )
    found = _first_within(space, tried, limits, costs)
    if found is None:
        raise InfeasibleError("no threshold on magnitudes leaves widths within the limits")
    return found


def _at_most(group: Group, channels: float) -> int:
    """Return the largest width of a group within a number of channels, or its smallest width."""
    return max((width for width in group.widths if width <= channels), default=group.widths[0])


def _first_within(
    space: ShrinkableSpace,
    tried: Iterable[Mapping[str, int]],
    limits: Limits,
    costs: Mapping[str, CostTable],
) -> Architecture | None:
    """Return the first widths within limits, with groups made wider in turn; None without any.

    Raises:
        InfeasibleError: No widths at all are within the limits.
    """
    asked = tightened_limits(checked_limits(limits, costs), costs)

    def fits(widths: Mapping[str, int]) -> bool:
        return within(_named(widths), asked, costs)

    found = next((widths for widths in tried if fits(widths)), None)
    if found is None:
        generate(JointDistribution.uniform(space.decisions), space, limits, costs)
        return None
    return _named(_widened(space, found, fits))


def _named(widths: Mapping[str, int]) -> Architecture:
    return Architecture({name: str(width) for name, width in widths.items()})


def _widened(
    space: ShrinkableSpace, widths: Mapping[str, int], fits: Callable[[Mapping[str, int]], bool]
) -> Mapping[str, int]:
    """Return widths of which none can become one width wider."""
    groups = [group for group in space.groups if group.is_open]
    while True:
        before = widths
        for group in groups:
            wider = next((width for width in group.widths if width > widths[group.name]), None)
            if wider is not None and fits({**widths, group.name: wider}):
                widths = {**widths, group.name: wider}
        if widths == before:
            return widths
