"""The counted costs of a space, for strategies that stay within limits."""

from __future__ import annotations

from collections.abc import Mapping

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace

__all__ = ["counted_costs"]


def counted_costs(space: DecisionSpace) -> Mapping[str, CostTable]:
    """Return the costs of the networks of a space, by name.

    Raises:
        OptionError: The space has decisions alone and no networks.
    """
    if not hasattr(space, "supernet"):
        raise OptionError("limits need a search space whose networks can be counted")
    from ddpnas.costs.count import count_costs  # loads torch, which this room does without

    return count_costs(space)  # type: ignore[arg-type]
