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


def test_the_released_form_can_exceed_the_budget_where_weights_round_to_nothing():
    theta = np.array([[0.004, 0.004, 0.992], [0.004, 0.004, 0.992]])
    cost = np.array([[60.0, 1.0, 500.0], [50.0, 2.0, 500.0]])
    exact = rounded_programme(theta, cost, 10.0)
    released = rounded_programme(theta, cost, 70.0, released=True)
    rows = np.arange(2)
    assert exact == [1, 1]
    assert released == [1, 0] and cost[rows, released].sum() == 51.0
    over = rounded_programme(theta, cost, 40.0, released=True)
    assert over == [1, 0] and cost[rows, over].sum() > 40.0


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
