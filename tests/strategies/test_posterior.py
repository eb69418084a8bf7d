import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpnas.space.decisions import Decision
from ddpnas.strategies._kernel import ChoiceKernel, PriorVariances
from ddpnas.strategies._posterior import (
    PRIORS,
    Observations,
    fit_all_priors,
    fit_best_prior,
    fit_prior,
    normal_scores,
)

ALIKE = ChoiceKernel.plain([Decision(f"d{i}", tuple("abcd")) for i in range(5)])
WIDTHS = ChoiceKernel.plain(
    [Decision(f"d{i}", ("8", "16", "24", "32"), values=(8, 16, 24, 32)) for i in range(5)]
)
DISTINCT = ChoiceKernel.plain(
    [Decision(f"d{i}", tuple(f"{o}{i}" for o in "abcd")) for i in range(5)]
)


def sample(n=60, d=5, k=4, seed=0):
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(d, k))
    choices = rng.integers(k, size=(n, d))
    return choices, effects[np.arange(d), choices].sum(axis=1), effects, rng


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_the_posterior_is_that_of_bayesian_linear_regression(shared):
    choices, z, _, _ = sample(20)
    effects = fit_prior(Observations(ALIKE, choices, z), PriorVariances(shared, 1.0, 0.0, 0.0, 0.3))
    n, d = choices.shape
    chosen = [(choices[:, i, None] == range(4)) * d**-0.5 for i in range(d)]
    features = np.concatenate([np.ones((n, 1)), *chosen, np.sqrt(shared) * sum(chosen)], axis=1)
    precision = features.T @ features / 0.3 + np.eye(features.shape[1])
    weights = np.linalg.solve(precision, features.T @ z / 0.3)
    assert effects.mean(choices) == pytest.approx(features @ weights)
    covariance = features @ np.linalg.inv(precision) @ features.T * effects.scale
    own = ALIKE.compare(choices, choices)
    mean, found = effects.mean_and_covariance(own, own)
    assert mean == pytest.approx(features @ weights)
    assert found == pytest.approx(covariance, abs=1e-8)
    assert effects.mean_and_spread(choices)[1] == pytest.approx(np.sqrt(np.diag(covariance)))


def test_additive_scores_are_ranked_nearly_perfectly_where_nothing_was_observed():
    choices, z, truth, rng = sample(60)
    effects = fit_best_prior(Observations(ALIKE, choices, normal_scores(z)))
    other = rng.integers(4, size=(200, 5))
    fitted = effects.mean(other)
    assert np.corrcoef(fitted, truth[np.arange(5), other].sum(axis=1))[0, 1] > 0.95


def test_sums_count_equal_decisions_until_effects_are_known():
    choices, *_ = sample(30)
    compared = DISTINCT.compare(choices, choices[:7])
    equal = (choices[:, None] == choices[None, :7]).sum(axis=2)
    assert (equal == compared.M).all() and (equal == compared.Q).all()


@given(
    effects=st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=5, max_size=5),
    prior=st.sampled_from(PRIORS),
    plain=st.sampled_from([ALIKE, WIDTHS]),
)
def test_whatever_the_effects_the_covariance_is_one(effects, prior, plain):
    """Symmetric, without negative eigenvalues, and largest for equal architectures."""
    kernel = plain.by_effects([np.array(row) for row in effects])
    choices, *_ = sample(40)
    covariance = prior.covariance(kernel.compare(choices, choices))
    assert covariance == pytest.approx(covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    assert covariance.diagonal() == pytest.approx(prior.variance(kernel, choices))


def test_options_of_equal_effects_are_half_alike_and_distant_ones_are_not():
    effects = [np.array([1.0, 1.0, -1.0, 9.0])] * 5
    same, twins, far = ALIKE.by_effects(effects).similar[0][0, [0, 1, 3]]
    assert same == 1.0 and twins == 0.5 and far < 0.1


@pytest.mark.parametrize("values", [(8, 16, 24, 32), (1, 2, 3), (0, 1, 5), (-2.5, 0, 4)])
def test_close_values_are_alike(values):
    """S is a covariance with ones on its diagonal, and falls with the distance of values."""
    decision = Decision("w", tuple(map(str, values)), values=values)
    unordered = Decision("b", tuple(map(str, values)))
    similar, identity = ChoiceKernel.plain([decision, unordered]).similar
    assert (identity == np.eye(len(values))).all()
    assert (similar == similar.T).all() and (similar.diagonal() == 1.0).all()
    assert np.linalg.eigvalsh(similar).min() > 0
    assert (np.diff(similar[0]) < 0).all() and (similar > 0).all()


def test_only_the_ratio_of_widths_counts():
    narrow, wide = (
        Decision("w", tuple(map(str, v)), values=v) for v in ((8, 16, 24), (32, 64, 96))
    )
    one, other = ChoiceKernel.plain([narrow, wide]).similar
    assert one == pytest.approx(other)


def test_a_score_of_a_width_says_something_about_its_neighbors():
    """With the order of widths, few scores rank unseen ones better."""
    rng = np.random.default_rng(0)
    values = tuple(range(8, 72, 8))
    kernels = [
        ChoiceKernel.plain(
            [Decision(f"d{i}", tuple(f"{i}: {w}" for w in values), values=v) for i in range(4)]
        )
        for v in (None, values)
    ]
    gains = []
    for _ in range(10):
        slopes = rng.uniform(0.2, 1.0, size=(4, 1))
        effects = slopes * np.log(values) + 0.1 * rng.normal(size=(4, 8))
        choices, other = rng.integers(8, size=(20, 4)), rng.integers(8, size=(300, 4))
        z = normal_scores(effects[np.arange(4), choices].sum(axis=1))
        truth = effects[np.arange(4), other].sum(axis=1)
        plain, ordered = (
            np.corrcoef(fit_best_prior(Observations(k, choices, z)).mean(other), truth)[0, 1]
            for k in kernels
        )
        gains.append(ordered - plain)
    assert np.mean(gains) > 0.1


def test_what_is_learned_of_an_option_is_expected_of_one_with_a_like_effect():
    """Where two pairs of twins interact, a fit that knows effects predicts better."""
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(10):
        pairs = rng.normal(size=(5, 5, 2, 2))
        single = np.array([0.5, 0.5, -0.5, -0.5])

        def score(choices, pairs=pairs, single=single):
            kind = choices // 2
            return single[choices].sum(axis=1) + sum(
                pairs[i, j][kind[:, i], kind[:, j]] for i in range(5) for j in range(i)
            )

        choices, other = rng.integers(4, size=(40, 5)), rng.integers(4, size=(300, 5))
        z, truth = normal_scores(score(choices)), score(other)
        alike = DISTINCT.by_effects([single] * 5)
        fitted = [
            fit_best_prior(Observations(kernel, choices, z)).mean(other)
            for kernel in (DISTINCT, alike)
        ]
        plain, knowing = (np.corrcoef(mean, truth)[0, 1] for mean in fitted)
        gains.append(knowing - plain)
    assert np.mean(gains) > 0.05


def test_names_that_mean_the_same_everywhere_are_learned_from_few_scores():
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(10):
        worth = rng.normal(size=4)
        choices, other = rng.integers(4, size=(12, 5)), rng.integers(4, size=(200, 5))
        z = normal_scores(worth[choices].sum(axis=1))
        truth = worth[other].sum(axis=1)
        alike, distinct = (
            fit_best_prior(Observations(x, choices, z)).mean(other) for x in (ALIKE, DISTINCT)
        )
        gains.append(np.corrcoef(alike, truth)[0, 1] - np.corrcoef(distinct, truth)[0, 1])
    assert np.mean(gains) > 0.1
    assert ALIKE.shares_names and not DISTINCT.shares_names


def test_the_likeliest_prior_of_the_grid_is_found_and_a_climb_comes_near():
    for seed in range(5):
        choices, z, _, _ = sample(40, seed=seed)
        seen = Observations(ALIKE, choices, normal_scores(z))
        best = max(fit_prior(seen, prior).evidence for prior in PRIORS)
        assert fit_best_prior(seen).evidence == best
        assert fit_best_prior(seen, PRIORS[-1]).evidence > best - 2.0


def test_priors_are_weighed_by_their_evidence():
    choices, z, _, _ = sample(40)
    posteriors, weights = fit_all_priors(Observations(ALIKE, choices, normal_scores(z)))
    assert weights.sum() == pytest.approx(1.0)
    ratio = np.exp(posteriors[0].evidence - posteriors[-1].evidence)
    assert weights[0] / weights[-1] == pytest.approx(ratio)
    apart, _ = fit_all_priors(Observations(DISTINCT, choices, normal_scores(z)))
    assert all(not p.prior.shared for p in apart)


def test_a_learning_curve_is_removed_and_none_is_invented():
    choices, z, _, rng = sample(60)
    z = z + 0.1 * rng.normal(size=60)
    curve = 3.0 * np.log1p(np.arange(60))
    found, drifting = Observations(ALIKE, choices, normal_scores(z + curve)).without_curve()
    assert np.corrcoef(z + curve, z)[0, 1] < 0.75
    assert drifting and np.corrcoef(found.z, z)[0, 1] > 0.8
    found, drifting = Observations(ALIKE, choices, normal_scores(z)).without_curve()
    assert not drifting and found.z == pytest.approx(normal_scores(z))


def test_ties_share_their_normal_score():
    scores = normal_scores(np.array([1.0, 2.0, 2.0, 3.0]))
    assert scores[1] == scores[2] == 0.0
    assert scores[0] == -scores[3] < 0


def test_a_name_is_shared_by_decisions_of_about_the_same_options_only():
    offers = {"e1": "146", "e2": "146", "k": "35", "l1": "123", "l2": "1234", "se": "01"}
    labels = ChoiceKernel.plain([Decision(n, tuple(o)) for n, o in offers.items()]).labels
    e1, e2, k, l1, l2, se = (set(row.tolist()) for row in labels)
    assert e1 == e2 and l1 < l2
    assert not (e1 & l2 or l2 & se or k & l2 or e1 & se)
    tied = ChoiceKernel.plain([Decision("a", tuple("xyz")), Decision("b", tuple("xyzw"))])
    assert tied.shares_names and tied.names == 4
