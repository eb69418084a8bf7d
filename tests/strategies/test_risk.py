import itertools

import numpy as np
import pytest
from scipy.stats import t

from ddpnas.space.decisions import Decision
from ddpnas.strategies._kernel import ChoiceKernel, PriorVariances
from ddpnas.strategies._posterior import Observations, fit_all_priors, fit_prior, normal_scores
from ddpnas.strategies._risk import best_option_shares, variants

KERNEL = ChoiceKernel.plain([Decision(f"d{i}", tuple("abcd")) for i in range(3)])
EVERYTHING = np.array(list(itertools.product(range(4), repeat=3)))
ALIVE = [np.ones(4, dtype=bool)] * 3
ALIVE_PAIR = [np.ones(2, dtype=bool)]


def test_shares_are_probabilities_of_having_the_best():
    rng = np.random.default_rng(0)
    choices = rng.integers(4, size=(80, 3))
    z = normal_scores(choices.sum(axis=1) + 0.1 * rng.normal(size=80))
    shares = best_option_shares(*fit_all_priors(Observations(KERNEL, choices, z)), ALIVE, rng)
    for row in shares:
        assert row.argmax() == 3
        assert row.sum() == pytest.approx(1.0)
        assert (row > 0).all()


def test_what_is_pruned_has_no_share():
    rng = np.random.default_rng(0)
    choices = rng.integers(4, size=(30, 3))
    alive = [np.array([True, True, False, True]), *ALIVE[1:]]
    shares = best_option_shares(
        *fit_all_priors(Observations(KERNEL, choices, rng.normal(size=30))), alive, rng
    )
    assert shares[0][2] == 0.0
    assert (shares[0][[0, 1, 3]] > 0).all()


def test_stated_shares_are_observed_where_the_prior_is_right():
    """Functions are drawn from the prior, noise included; what is stated has to happen."""
    rng = np.random.default_rng(1)
    prior = PriorVariances(0.0, 0.5, 0.5, 0.0, 0.1)
    covariance = prior.covariance(KERNEL.compare(EVERYTHING, EVERYTHING))
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(64))
    stated, observed = [], []
    for _ in range(150):
        f = factor @ rng.normal(size=64)
        score = f + prior.noise**0.5 * rng.normal(size=64)
        seen = rng.choice(64, size=16, replace=False)
        effects = fit_prior(Observations(KERNEL, EVERYTHING[seen], score[seen]), prior)
        shares = best_option_shares([effects], np.ones(1), ALIVE, rng)
        again = f + prior.noise**0.5 * rng.normal(size=64)
        best = EVERYTHING[again.argmax()]
        for i, row in enumerate(shares):
            stated += row.tolist()
            observed += (np.arange(4) == best[i]).tolist()
    stated, observed = np.array(stated), np.array(observed)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        here = (stated >= low) & (stated < high)
        error = 4 * np.sqrt(max(stated[here].mean(), 0.01) / here.sum())
        assert observed[here].mean() == pytest.approx(stated[here].mean(), abs=error)


@pytest.mark.parametrize("noise", [0.02, 0.8])
@pytest.mark.parametrize("seen", [[0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]])
def test_of_two_options_the_share_is_that_of_a_t_distribution_with_what_is_left_over(noise, seen):
    kernel = ChoiceKernel.plain([Decision("d", ("a", "b"))])
    rng, pair = np.random.default_rng(0), np.array([[0], [1]])
    choices = np.array(seen)[:, None]
    z = 0.8 * choices[:, 0] + np.random.default_rng(1).normal(scale=0.3, size=len(seen))
    effects = fit_prior(Observations(kernel, choices, z), PriorVariances(0.0, 1.0, 0.0, 0.0, noise))
    ((_, share),) = best_option_shares([effects], np.ones(1), ALIVE_PAIR, rng, draws=200_000)
    mean, covariance = effects.mean_and_covariance(
        kernel.compare(pair, pair), kernel.compare(pair, choices)
    )
    known = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    spread = np.sqrt(known + 2 * effects.scale * noise)
    assert share == pytest.approx(t.cdf((mean[1] - mean[0]) / spread, df=len(seen)), abs=0.004)


def test_shares_under_several_priors_are_averaged_by_their_weights():
    kernel = ChoiceKernel.plain([Decision("d", ("a", "b"))])
    choices, z = np.array([[0], [1], [1]]), np.array([-1.0, 0.5, 1.0])
    rng, weights = np.random.default_rng(0), np.array([0.6, 0.4])
    sure, unsure = (
        fit_prior(Observations(kernel, choices, z), PriorVariances(0.0, 1.0, 0.0, 0.0, n))
        for n in (0.02, 0.8)
    )
    alone = [
        best_option_shares([e], np.ones(1), ALIVE_PAIR, rng, draws=200_000)[0][1]
        for e in (sure, unsure)
    ]
    ((_, share),) = best_option_shares([sure, unsure], weights, ALIVE_PAIR, rng, draws=200_000)
    assert alone[0] - alone[1] > 0.1
    assert share == pytest.approx(weights @ alone, abs=0.004)


def test_a_large_space_is_sampled_and_rules_are_kept():
    d = 20
    kernel = ChoiceKernel.plain([Decision(f"d{i}", tuple("abc")) for i in range(d)])
    rng = np.random.default_rng(0)
    choices = rng.integers(3, size=(60, d))
    z = normal_scores(choices.sum(axis=1))
    alive = [np.ones(3, dtype=bool)] * d

    def not_c_first(pool):
        return pool[:, 0] != 2

    shares = best_option_shares(
        *fit_all_priors(Observations(kernel, choices, z)), alive, rng, not_c_first
    )
    assert sum(int(row.argmax()) == 2 for row in shares[1:]) > 14
    assert shares[0][2] < 0.002


def test_variants_set_each_decision_to_each_survivor():
    alive = [np.array([True, False, True]), np.array([True, True, True])]
    found = variants(np.array([[0, 1]]), alive)
    assert found.tolist() == [[0, 1], [2, 1], [0, 0], [0, 1], [0, 2]]
