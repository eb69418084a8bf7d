"""ExpectedCost: the mean cost of networks drawn from weights, as a function with a gradient.

Notation.  w_d[o]  weight of option o of decision d
           c_T     cost of a term T, a set of (decision, option) pairs

    E(w) = fixed + sum over the terms T of c_T prod over (d, o) in T of w_d[o]

and what it adds to a loss L, with r = E(w) / reference:

    penalty  L + weight r        product  L r ** weight        hinge  L + weight max(0, r - 1)

E is linear in the weights of each decision (the multilinear extension of the table). For
independent decisions it is the mean cost, and for one-hot weights the cost of the network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ddpnas.costs.table import CostTable
from ddpnas.space.decisions import DecisionSpace

__all__ = ["CostPenalty", "ExpectedCost"]


class ExpectedCost:
    """The multilinear extension of a cost table.

    Args:
        table: The costs.
        space: Its decisions.

    Raises:
        SpaceError: The table is of another space.

    Example:
        >>> from ddpnas.space import Decision
        >>> space = DecisionSpace([Decision("op", ("conv", "skip"))])
        >>> expected = ExpectedCost(CostTable("macs", "MACs", 10, {(("op", "conv"),): 90}), space)
        >>> expected({"op": torch.tensor([0.5, 0.5])})
        tensor(55., dtype=torch.float64)
    """

    def __init__(self, table: CostTable, space: DecisionSpace) -> None:
        table.check(space)
        self._fixed = float(table.fixed)
        starts, start = {}, 0
        for decision in space.decisions:
            starts[decision.name] = start
            start += len(decision.options)
        self._names = [decision.name for decision in space.decisions]
        # Number of pairs in a term -> (rows of places in the joined weights, costs).
        by_length: dict[int, list[tuple[list[int], float]]] = defaultdict(list)
        for pairs, cost in table.terms.items():
            places = [starts[d] + space[d].index(option) for d, option in pairs]
            by_length[len(pairs)].append((places, float(cost)))
        self._terms = [
            (
                torch.tensor([places for places, _ in rows]),
                torch.tensor([cost for _, cost in rows], dtype=torch.float64),
            )
            for rows in by_length.values()
        ]

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost, of shape (...) and 64 bits.

        Args:
            weights: Name of a decision -> weights of its options, (..., K).
        """
        joined = torch.cat([weights[name] for name in self._names], dim=-1)
        if joined.device.type == "mps":  # it has no double precision
            joined = joined.cpu()
        joined = joined.double()
        total = joined.new_tensor(self._fixed)
        for places, costs in self._terms:
            products = joined[..., places.to(joined.device)].prod(dim=-1)
            total = total + products @ costs.to(joined.device)
        return total


@dataclass(frozen=True)
class CostPenalty:
    """What an expected cost adds to a loss.

    Attributes:
        expected: The expected cost.
        form: "penalty", "product" or "hinge", see the head of this file.
        weight: How much the cost counts.
        reference: The cost to which it is compared, in the unit of the table.

    Example:
        >>> from ddpnas.space import Decision
        >>> space = DecisionSpace([Decision("op", ("conv", "skip"))])
        >>> expected = ExpectedCost(CostTable("macs", "MACs", 10, {(("op", "conv"),): 90}), space)
        >>> hinge = CostPenalty(expected, "hinge", weight=2.0, reference=50.0)
        >>> hinge(torch.tensor(1.0), {"op": torch.tensor([0.5, 0.5])})
        tensor(1.2000)
    """

    expected: ExpectedCost
    form: Literal["penalty", "product", "hinge"]
    weight: float
    reference: float

    def __call__(self, loss: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the loss with the cost in it.

        Args:
            loss: The loss, a scalar.
            weights: Name of a decision -> weights of its options, (K,).
        """
        ratio = (self.expected(weights) / self.reference).to(loss)
        if self.form == "penalty":
            return loss + self.weight * ratio
        if self.form == "product":
            return loss * ratio**self.weight
        return loss + self.weight * (ratio - 1).clamp(min=0)
