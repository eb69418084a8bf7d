"""The authors' generator for chain spaces: dynamic programming over weights of two decimals.

A baseline for :mod:`benchmarks.generate` only. Written from a description of the method, without
the slips of the released code: weights floor(100 theta); the least cost of every total weight,
block after block; the answer is the largest total within the budget, traced back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["rounded_programme"]

Matrix = npt.NDArray[np.float64]


def rounded_programme(theta: Matrix, cost: Matrix, budget: float) -> list[int] | None:
    """Return the option of each block, None where no total is within the budget.

    Args:
        theta: blocks x options, rows of sum 1.
        cost: blocks x options.
        budget: for the sum of costs.
    """
    weight = np.floor(100 * theta).astype(int)
    blocks, options = theta.shape
    most = int(weight.max(axis=1).sum())
    least = np.full((blocks, most + 1), np.inf)
    option = np.full((blocks, most + 1), -1)
    for o in range(options):
        total = weight[0, o]
        if cost[0, o] < least[0, total]:
            least[0, total], option[0, total] = cost[0, o], o
    for block in range(1, blocks):
        for o in range(options):
            w = weight[block, o]
            reached = np.full(most + 1, np.inf)
            reached[w:] = least[block - 1, : most + 1 - w] + cost[block, o]
            better = reached < least[block]
            option[block][better] = o
            least[block] = np.minimum(least[block], reached)
    within = np.flatnonzero(least[-1] <= budget)
    if not within.size:
        return None
    total = int(within[-1])
    chosen = [0] * blocks
    for block in reversed(range(blocks)):
        chosen[block] = int(option[block, total])
        total -= int(weight[block, chosen[block]])
    return chosen
