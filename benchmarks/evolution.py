"""Evolutionary search with rejection: how other libraries find an architecture within a budget.

A baseline for :mod:`benchmarks.generate` only. The better quarter has children by crossover and
mutation; what is over the budget is rejected, in the first population too; until the time is over.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

__all__ = ["evolve"]

Matrix = npt.NDArray[np.float64]

POPULATION = 100
MUTATION = 0.1  # probability of each block


def evolve(
    value: Matrix, cost: Matrix, budget: float, seconds: float, seed: int
) -> tuple[list[int] | None, int]:
    """Return the best options found within the budget (None: none was) and how many were tried.

    Args:
        value: blocks x options; their sum is maximised.
        cost: blocks x options.
        budget: for the sum of costs.
        seconds: of processor time that it may take.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    blocks, options = value.shape
    rows = np.arange(blocks)
    end = time.process_time() + seconds
    tried = 0
    population: list[tuple[float, list[int]]] = []

    def fits(batch: Matrix) -> list[tuple[float, list[int]]]:
        good = batch[cost[rows, batch].sum(axis=1) <= budget]
        worth = value[rows, good].sum(axis=1)
        return list(zip(worth.tolist(), good.tolist(), strict=True))

    while len(population) < POPULATION and time.process_time() < end:
        tried += POPULATION
        population += fits(rng.integers(options, size=(POPULATION, blocks)))
    while population and time.process_time() < end:
        population = sorted(population, reverse=True)[:POPULATION]
        parents = np.array([one for _, one in population[: max(2, len(population) // 4)]])
        pairs = parents[rng.integers(len(parents), size=(2, POPULATION))]
        crossed = np.where(rng.random((POPULATION, blocks)) < 0.5, pairs[0], pairs[1])
        mutated = np.where(
            rng.random((POPULATION, blocks)) < MUTATION,
            rng.integers(options, size=(POPULATION, blocks)),
            pairs[0],
        )
        half = POPULATION // 2
        tried += POPULATION
        population += fits(np.concatenate([crossed[:half], mutated[half:]]))
    return (max(population)[1] if population else None), tried
