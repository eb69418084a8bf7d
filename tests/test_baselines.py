"""The baselines that generation is measured against do what is said of them."""

import itertools

import numpy as np

from benchmarks.authors_dp import rounded_programme
from benchmarks.evolution import evolve


def test_the_rounded_programme_is_the_best_of_the_rounded_weights():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        theta = rng.dirichlet(np.ones(3), size=4)
        cost = rng.integers(0, 20, (4, 3)).astype(float)
        budget = float(rng.integers(5, 50))
        rounded = np.floor(100 * theta)
        rows = np.arange(4)
        totals = [
            rounded[rows, list(chosen)].sum()
            for chosen in itertools.product(range(3), repeat=4)
            if cost[rows, list(chosen)].sum() <= budget
        ]
        found = rounded_programme(theta, cost, budget)
        if not totals:
            assert found is None
            continue
        assert cost[rows, found].sum() <= budget
        assert rounded[rows, found].sum() == max(totals)


def test_evolution_finds_a_small_optimum_within_the_budget():
    rng = np.random.default_rng(0)
    value, cost = rng.random((3, 3)), rng.random((3, 3))
    found, tried = evolve(value, cost, 1.5, seconds=0.2, seed=0)
    rows = np.arange(3)
    best = max(
        value[rows, list(chosen)].sum()
        for chosen in itertools.product(range(3), repeat=3)
        if cost[rows, list(chosen)].sum() <= 1.5
    )
    assert tried > 100 and cost[rows, found].sum() <= 1.5
    assert value[rows, found].sum() == best
