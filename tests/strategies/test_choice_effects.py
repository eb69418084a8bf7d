import itertools
import math

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import DataError
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies._kernel import ChoiceKernel
from ddpnas.strategies._posterior import Observations, fit_all_priors, normal_scores

SPACE = DecisionSpace([Decision(f"d{i}", tuple("abcd"[: 2 + i % 3])) for i in range(6)])
WIDTHS = DecisionSpace(  # of the same sizes
    [
        Decision(d.name, d.options, values=tuple(2.0**j for j in range(len(d.options))))
        if i % 2
        else d
        for i, d in enumerate(SPACE.decisions)
    ]
)
SIZES = [len(d.options) for d in SPACE.decisions]


def additive(seed, n=60, noise=0.02):
    """Return architectures, accuracies and the true effects of a space without interactions."""
    rng = np.random.default_rng(seed)
    effects = [rng.normal(scale=0.05, size=k) for k in SIZES]
    effects = [row - row.mean() for row in effects]
    choices = np.stack([rng.integers(k, size=n) for k in SIZES], axis=1)
    scores = 0.6 + sum(row[c] for row, c in zip(effects, choices.T, strict=True))
    scores = scores + noise * rng.normal(size=n)
    return [SPACE.decode(row) for row in choices], scores, np.concatenate(effects)


def test_the_true_effect_is_as_often_within_the_spread_as_a_normal_variable():
    gaps = []
    for seed in range(40):
        architectures, scores, truth = additive(seed)
        found = ddpnas.strategies.choice_effects(SPACE, architectures, scores)
        gaps += [(f.mean - t) / f.spread for f, t in zip(found, truth, strict=True)]
    gaps = np.abs(gaps)
    assert np.mean(gaps < 1) == pytest.approx(0.683, abs=0.06)
    assert np.mean(gaps < 2) == pytest.approx(0.954, abs=0.03)


def test_effects_follow_the_order_of_the_space_and_sum_to_zero_a_decision():
    architectures, scores, _ = additive(0)
    found = ddpnas.strategies.choice_effects(SPACE, architectures, scores)
    assert [(f.decision, f.option) for f in found] == [
        (d.name, o) for d in SPACE.decisions for o in d.options
    ]
    for d in SPACE.decisions:
        mine = [f for f in found if f.decision == d.name]
        assert sum(f.mean for f in mine) == pytest.approx(0.0, abs=1e-9)
        assert sum(f.count for f in mine) == len(scores)
        assert all(f.count == sum(a[d.name] == f.option for a in architectures) for f in mine)


def test_effects_are_in_units_of_the_score():
    architectures, scores, _ = additive(1)
    fractions = ddpnas.strategies.choice_effects(SPACE, architectures, scores)
    percents = ddpnas.strategies.choice_effects(SPACE, architectures, 100 * scores + 7)
    assert [100 * f.mean for f in fractions] == pytest.approx([p.mean for p in percents])
    assert [100 * f.spread for f in fractions] == pytest.approx([p.spread for p in percents])


def test_more_scores_narrow_the_spread():
    spreads = [
        np.mean([f.spread for f in ddpnas.strategies.choice_effects(SPACE, *additive(2, n)[:2])])
        for n in (15, 60, 240)
    ]
    assert spreads[0] > 1.3 * spreads[1] > 1.3**2 * spreads[2]


def test_a_score_that_is_nan_counts_as_the_worst():
    architectures, scores, _ = additive(3)
    scores[[4, 9]] = math.nan
    worst = np.where(np.isnan(scores), np.nanmin(scores), scores)
    found = ddpnas.strategies.choice_effects(SPACE, architectures, scores)
    like = ddpnas.strategies.choice_effects(SPACE, architectures, worst)
    assert all(math.isfinite(f.mean) and f.spread > 0 for f in found)
    assert np.corrcoef([f.mean for f in found], [f.mean for f in like])[0, 1] > 0.99


@pytest.mark.parametrize("space", [SPACE, WIDTHS])
def test_an_effect_is_the_fit_with_the_option_averaged_over_all_other_choices(space):
    architectures, scores, _ = additive(0)
    found = ddpnas.strategies.choice_effects(space, architectures, scores)
    choices = np.array([SPACE.encode(a) for a in architectures])
    kernel = ChoiceKernel.plain(space.decisions)
    posteriors, weights = fit_all_priors(Observations(kernel, choices, normal_scores(scores)))
    everything = np.array(list(itertools.product(*map(range, SIZES))))
    fitted = weights @ [posterior.mean(everything) for posterior in posteriors]
    by_hand = []
    for i, k in enumerate(SIZES):
        means = np.array([fitted[everything[:, i] == o].mean() for o in range(k)])
        by_hand += (means - means.mean()).tolist()
    slope = np.cov(scores, normal_scores(scores))[0, 1] / normal_scores(scores).var(ddof=1)
    assert [f.mean for f in found] == pytest.approx([slope * effect for effect in by_hand])


def test_scores_that_say_nothing_are_refused():
    architectures, scores, _ = additive(0)
    with pytest.raises(DataError, match="60 architectures have 59 scores"):
        ddpnas.strategies.choice_effects(SPACE, architectures, scores[:-1])
    with pytest.raises(DataError, match="two different scores"):
        ddpnas.strategies.choice_effects(SPACE, architectures, [0.5] * 60)


def test_the_spread_of_an_effect_is_that_of_draws_averaged_over_all_other_choices():
    """Prior and posterior variance of an effect follow from those of all architectures."""
    architectures, scores, _ = additive(0)
    found = ddpnas.strategies.choice_effects(WIDTHS, architectures, scores)
    choices = np.array([WIDTHS.encode(a) for a in architectures])
    kernel, z = ChoiceKernel.plain(WIDTHS.decisions), normal_scores(scores)
    posteriors, weights = fit_all_priors(Observations(kernel, choices, z))
    everything = np.array(list(itertools.product(*map(range, SIZES))))
    each, seen = kernel.compare(everything, everything), kernel.compare(everything, choices)
    contrasts = []
    for i, k in enumerate(SIZES):
        mine = (everything[:, i] == np.arange(k)[:, None]) * k / len(everything)
        contrasts += list(mine - mine.mean(axis=0))
    contrasts = np.array(contrasts)
    moments = []
    for posterior in posteriors:
        mean, covariance = posterior.mean_and_covariance(each, seen)
        variance = ((contrasts @ covariance) * contrasts).sum(axis=1) * len(z) / (len(z) - 2)
        moments.append((contrasts @ mean, variance))
    means, variances = np.array(moments).transpose(1, 0, 2)
    spread = np.sqrt(weights @ (variances + (means - weights @ means) ** 2))
    slope = np.cov(scores, z)[0, 1] / z.var(ddof=1)
    assert [f.spread for f in found] == pytest.approx((slope * spread).tolist())
