import numpy as np
import pytest

from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies import create_strategy
from ddpnas.strategies.learned import rank_utilities
from ddpnas.strategies.natural import log_rank_utilities

SPACE = DecisionSpace([Decision("a", tuple("uvwxy")), Decision("b", tuple("pq"))])
NAMES = ["asng", "mdenas", "migo", "reinforce", "sng"]


@pytest.mark.parametrize("name", NAMES)
def test_pruning_scores_as_many_as_the_published_schedule(name):
    strategy = create_strategy(name, SPACE, pruning=True)
    assert strategy.evaluations == 42
    stages = 0
    while not strategy.done:
        batch = strategy.ask()
        assert len({a["a"] for a in batch}) == len(batch)
        strategy.tell(batch, [0.5 + 0.1 * SPACE.encode(a)[0] for a in batch])
        stages = max(stages, strategy.stage)
    assert stages == 4
    assert strategy.evaluations == 42


@pytest.mark.parametrize("name", NAMES)
def test_theta_stays_a_distribution_and_pruned_options_keep_theirs(name):
    strategy = create_strategy(name, SPACE, pruning=True)
    rng = np.random.default_rng(0)
    before = strategy.distribution
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, rng.random(len(batch)).tolist())
        after = strategy.distribution
        for old, new, alive in zip(before.rows, after.rows, before.alive, strict=True):
            assert new.sum() == pytest.approx(1.0)
            assert (new > 0).all()
            assert new[~alive] == pytest.approx(old[~alive])
        before = after


def test_rank_utilities_sum_to_zero_and_ties_share():
    assert rank_utilities(np.array([0.2, 0.9])).tolist() == [-1.0, 1.0]
    assert rank_utilities(np.array([0.5, 0.5])).tolist() == [0.0, 0.0]
    many = rank_utilities(np.array([0.1, 0.9, 0.5, 0.4, 0.8, 0.2, 0.3, 0.6]))
    assert many.tolist() == [-0.5, 0.5, 0.0, 0.0, 0.5, -0.5, 0.0, 0.0]
    logs = log_rank_utilities(np.array([0.1, 0.9, 0.5]))
    assert logs.sum() == pytest.approx(0.0)
    assert logs[1] == -logs[0] > 0 == logs[2]
