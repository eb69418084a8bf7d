"""MixtureLoad: what a step of a mixture computes, compared with that of a path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpnas.costs.count import count_costs
from ddpnas.relaxed.expected_cost import ExpectedCost
from ddpnas.relaxed.relaxations import RELAXATIONS
from ddpnas.space.decisions import Decision
from ddpnas.space.search_space import SearchSpace
from ddpnas.strategies.gradient import GradientStrategy

__all__ = ["MixtureLoad"]


@dataclass(frozen=True)
class MixtureLoad:
    """What one forward pass of a mixture costs for one image.

    Counted on the final networks of the space. :class:`ddpnas.relaxed.StepMemory` measures memory.

    Attributes:
        macs: Multiply-adds of the mixture.
        path_macs: Those of the mean path.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> dense, hard = (
        ...     MixtureLoad.of(space, ddpnas.create_strategy(name, space))
        ...     for name in ("darts", "gdas")
        ... )
        >>> dense.macs > 2 * dense.path_macs, hard.macs == hard.path_macs
        (True, True)
    """

    macs: float
    path_macs: float

    @classmethod
    def of(cls, space: SearchSpace, strategy: GradientStrategy) -> MixtureLoad:
        """Return the load of a strategy's step on the logits.

        Args:
            space: The searched space, at the size of the search.
            strategy: The strategy.
        """
        macs = ExpectedCost(count_costs(space)["macs"], space)
        relaxation = RELAXATIONS[strategy.relaxation]
        # How many options of a decision run; 0 for all.
        count = 2 if relaxation.path is not None else 1 if relaxation.adds else 0
        runs = {d.name: _runs(d, count) for d in space.decisions}
        mean = {d.name: _runs(d, 1, widest=False) for d in space.decisions}
        return cls(float(macs(runs)), float(macs(mean)))


def _runs(decision: Decision, count: int, *, widest: bool = True) -> Tensor:
    """Return how often each option runs: once if all do, otherwise on average."""
    size = len(decision.options)
    if decision.ordered and widest:  # a width runs at its largest value
        return torch.eye(size)[-1]
    return torch.full((size,), min(count, size) / size if count else 1.0)
