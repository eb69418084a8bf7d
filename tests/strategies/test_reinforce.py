import math

import numpy as np
import pytest

from ddpnas import create_strategy
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace

SPACE = DecisionSpace([Decision("a", tuple("uvwxy")), Decision("b", tuple("pqr"))])


def learn(updates, unit=1.0, **options):
    """Return what was asked in each update, its scores, and theta after it."""
    strategy = create_strategy("reinforce", SPACE, **options)
    rng = np.random.default_rng(0)
    told = []
    for _ in range(updates):
        batch = strategy.ask()
        scores = rng.random(len(batch))
        strategy.tell(batch, (unit * scores).tolist())
        theta = [row.copy() for row in strategy.distribution.rows]
        told.append(([SPACE.encode(a) for a in batch], scores, theta))
    return told


def test_the_logits_move_along_the_gradient_by_the_advantage_over_a_moving_average():
    theta = [np.full(5, 1 / 5), np.full(3, 1 / 3)]
    mean, spread, clipped = None, 0.0, 0
    for architectures, scores, found in learn(6, batch=2, lr=0.4, baseline=0.8):
        mean = scores.mean() if mean is None else mean
        gaps = [score - mean for score in scores]
        mean = 0.8 * mean + 0.2 * scores.mean()
        spread = 0.8 * spread + 0.2 * np.mean(np.abs(gaps))
        clipped += sum(abs(gap / spread) > 3 for gap in gaps)
        advantages = [min(3.0, max(-3.0, gap / spread)) for gap in gaps]
        for i, row in enumerate(theta):
            logits = [math.log(p) for p in row]
            for indices, advantage in zip(architectures, advantages):
                for option, p in enumerate(row):
                    slope = (1.0 if indices[i] == option else 0.0) - p
                    logits[option] += 0.4 * advantage * slope / len(architectures)
            weights = np.exp(logits)
            theta[i] = weights / weights.sum()
            assert found[i] == pytest.approx(theta[i])
    assert 0 < clipped < 12


def test_the_unit_of_the_score_does_not_matter():
    for (asked, _, theta), (again, _, same) in zip(learn(20), learn(20, unit=100.0)):
        assert asked == again
        for row, other in zip(theta, same):
            assert row == pytest.approx(other)
