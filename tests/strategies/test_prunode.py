"""A bracket finds the best of ordered values by comparing two at a time."""

import itertools
import math

import numpy as np
import pytest

from ddpnas.strategies.prunode import Bracket


def search(reward, size, noise=0.0, seed=0, most=100):
    """Return the bracket and the number of moves until one value is left, or ``most``."""
    rng, bracket = np.random.default_rng(seed), Bracket(size)
    for moves in itertools.count():
        if bracket.done or moves == most:
            return bracket, moves
        lo, hi = bracket.pair
        for _ in range(5):
            gain = reward(hi) - reward(lo) + noise * rng.standard_normal()
            bracket.learn(1 / (1 + math.exp(-8 * gain)))
        bracket.move()
    raise AssertionError


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 33, 100])
def test_without_noise_it_finds_every_optimum_within_the_moves_announced(size):
    for best in range(size):
        bracket, moves = search(lambda at, best=best: -abs(at - best), size)
        assert bracket.low == bracket.high == best
        assert moves <= Bracket.moves(size)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_under_noise_it_ends_next_to_the_optimum_in_95_percent_of_200_seeds(size):
    near = 0
    for seed in range(200):
        best = int(np.random.default_rng([1, seed]).integers(size))
        bracket, moves = search(lambda at: -abs(at - best) / size, size, 0.05, seed)  # noqa: B023
        near += abs(bracket.low - best) <= 1 and moves <= 2 * math.log2(size) + 2
    assert near >= 190


def test_on_a_flat_reward_it_does_not_drift_to_an_end():
    ends = [search(lambda at: 0.0, 64, 0.05, seed)[0].low for seed in range(200)]
    above = sum(end > 31.5 for end in ends)
    assert abs(above - 100) < 3 * math.sqrt(50)  # sign test, three standard deviations


def test_a_bracket_that_is_never_moved_keeps_all_values():
    bracket, _ = search(lambda at: at, 16, most=0)
    for _ in range(100):
        bracket.learn(1.0)
    assert bracket.alive.all()


def test_probabilities_lean_to_the_better_one_and_halve_outside():
    bracket = Bracket(9)
    bracket.learn(0.9)
    assert bracket.row.argmax() >= bracket.pair[1]
    bracket.move()
    assert bracket.alive.tolist() == [False] * 3 + [True] * 6
    below = bracket.row[:4]
    assert np.allclose(below[1:] / below[:-1], 2) and math.isclose(bracket.row.sum(), 1)


def test_an_interrupted_bracket_goes_on():
    whole, resumed = Bracket(20), Bracket(20)
    for bracket in (whole, resumed):
        bracket.learn(0.7)
    other = Bracket(20)
    other.load_state_dict(resumed.state_dict())
    for bracket in (whole, other):
        bracket.learn(0.2)
        bracket.move()
    assert whole.state_dict() == other.state_dict()
