import numpy as np
import pytest

from ddpnas.strategies.effects import Prior, detrend, fit, normal_scores


def sample(n=60, d=5, k=4, seed=0):
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(d, k))
    choices = rng.integers(k, size=(n, d))
    return choices, effects[np.arange(d), choices].sum(axis=1), effects, rng


def test_the_posterior_is_that_of_bayesian_linear_regression():
    choices, z, _, _ = sample(20)
    prior = Prior(1.0, 0.0, 0.0, 0.3)
    effects = fit(choices, z, (prior,))
    n, d = choices.shape
    features = np.concatenate(
        [np.ones((n, 1)), *[(choices[:, i, None] == range(4)) * d**-0.5 for i in range(d)]], axis=1
    )
    precision = features.T @ features / 0.3 + np.eye(features.shape[1])
    weights = np.linalg.solve(precision, features.T @ z / 0.3)
    assert effects.mean(choices) == pytest.approx(features @ weights)
    covariance = features @ np.linalg.inv(precision) @ features.T * effects.scale
    assert effects.covariance(choices) == pytest.approx(covariance, abs=1e-8)
    assert effects.spread(choices) == pytest.approx(np.sqrt(np.diag(covariance)))


def test_additive_scores_are_ranked_nearly_perfectly_where_nothing_was_observed():
    choices, z, truth, rng = sample(60)
    effects = fit(choices, normal_scores(z))
    other = rng.integers(4, size=(200, 5))
    fitted = effects.mean(other)
    assert np.corrcoef(fitted, truth[np.arange(5), other].sum(axis=1))[0, 1] > 0.95


def test_a_learning_curve_is_removed_and_none_is_invented():
    choices, z, _, rng = sample(60)
    z = z + 0.1 * rng.normal(size=60)
    curve = 3.0 * np.log1p(np.arange(60))
    clean = np.corrcoef(detrend(choices, z + curve), z)[0, 1]
    assert np.corrcoef(z + curve, z)[0, 1] < 0.75
    assert clean > 0.8
    assert detrend(choices, z) == pytest.approx(normal_scores(z))


def test_ties_share_their_normal_score():
    scores = normal_scores(np.array([1.0, 2.0, 2.0, 3.0]))
    assert scores[1] == scores[2] == 0.0
    assert scores[0] == -scores[3] < 0
