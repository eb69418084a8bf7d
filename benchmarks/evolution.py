"""Evolutionary search with rejection: how other libraries find an architecture within a budget.

A baseline for :mod:`benchmarks.generate` only. The better quarter has children by crossover and
mutation; what is over the budget is rejected, in the first population too, and what is there
already. The first population is drawn at random, for a fifth of the time at most once there is
anybody in it. It ends when the time is over.
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
    start = time.process_time()
    end = start + seconds
    tried = 0
    population: set[tuple[float, tuple[int, ...]]] = set()

    def fits(batch: npt.NDArray[np.int64]) -> set[tuple[float, tuple[int, ...]]]:
        good = batch[cost[rows, batch].sum(axis=1) <= budget]
        worth = value[rows, good].sum(axis=1)
        return set(zip(worth.tolist(), map(tuple, good.tolist()), strict=True))

    while len(population) < POPULATION and time.process_time() < (
        start + seconds / 5 if population else end
    ):
        tried += POPULATION
        population |= fits(rng.integers(options, size=(POPULATION, blocks)))
    while population and time.process_time() < end:
        ordered = sorted(population, reverse=True)[:POPULATION]
        population = set(ordered)
        parents = np.array([one for _, one in ordered[: max(2, len(ordered) // 4)]])
        pairs = parents[rng.integers(len(parents), size=(2, POPULATION))]
        crossed = np.where(rng.random((POPULATION, blocks)) < 0.5, pairs[0], pairs[1])
        mutated = np.where(
            rng.random((POPULATION, blocks)) < MUTATION,
            rng.integers(options, size=(POPULATION, blocks)),
            pairs[0],
        )
        half = POPULATION // 2
        tried += POPULATION
        population |= fits(np.concatenate([crossed[:half], mutated[half:]]))
    return (list(max(population)[1]) if population else None), tried
