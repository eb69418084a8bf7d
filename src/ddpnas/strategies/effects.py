"""Bayesian effects of choices: what each one adds to the score, and how sure that is.

A score is shared by all decisions of its architecture, so that most of the spread of an average
over one option comes from the other decisions. Here all observations are fitted at once by

    z = mean + sum of effects of single choices + sum of effects of pairs + interaction + noise,

linear with independent normal priors, so that the posterior is exact. With m of d decisions
equal, two architectures have prior covariance

    w1 m / d  +  w2 m (m - 1) / (d (d - 1))  +  w3 r^(d - m),

the third term for interactions of all orders. Weights and noise are chosen from a small grid by
the marginal likelihood. z are normal scores of the ranks of the scores, so that a few failures
weigh no more than their rank. Scores that rise while weights are trained (the learning curve)
are explained by a further linear term in the logarithm of time where the marginal likelihood
says so, and ranked again without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = ["Effects", "Prior", "detrend", "fit", "normal_scores"]

Matrix = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prior:
    """Variances, relative to the scale of the fit.

    Attributes:
        single, pair, interaction: w1, w2, w3 above.
        noise: of one score.
        decay: r above, the correlation that is left after one different choice.
    """

    single: float
    pair: float
    interaction: float
    noise: float
    decay: float = 0.7

    def covariance(self, equal: Choices, d: int) -> Matrix:
        """Return the prior covariance of architectures with so many equal decisions of d."""
        return np.asarray(self.by_count(d)[equal])

    def by_count(self, d: int) -> Matrix:
        """Return the prior covariance of two architectures with 0, 1, ..., d equal decisions."""
        at = np.arange(d + 1)
        result = self.single * at / d + self.pair * at * (at - 1) / max(1, d * (d - 1))
        return np.asarray(result + self.interaction * self.decay ** (d - at) + _MEAN)


_MEAN = 1.0  # prior variance of the mean
_SHAPES = ((1.0, 0.0, 0.0), (0.6, 0.4, 0.0), (0.5, 0.0, 0.5), (0.3, 0.3, 0.4), (0.1, 0.1, 0.8))
_NOISES = (0.02, 0.1, 0.3, 0.8)
PRIORS = tuple(Prior(*shape, noise) for shape in _SHAPES for noise in _NOISES)


@dataclass(frozen=True)
class Effects:
    """The posterior after a fit.

    Attributes:
        prior: the likeliest of those tried.
        choices: observed architectures, n x d option indices.
        scale: variance that all of ``prior`` is relative to.
        inverse: of the covariance of the observations, n x n, without the scale.
        weights: inverse times z.
        evidence: logarithm of the marginal likelihood, without constants.
    """

    prior: Prior
    choices: Choices
    scale: float
    inverse: Matrix
    weights: Matrix
    evidence: float

    def mean(self, candidates: Choices) -> Matrix:
        """Return the posterior mean of z of each candidate (m x d option indices)."""
        return np.asarray(self._cross(candidates) @ self.weights)

    def spread(self, candidates: Choices) -> Matrix:
        """Return the posterior standard deviation of each candidate's z, without noise."""
        cross = self._cross(candidates)
        d = self.choices.shape[1]
        own = self.prior.covariance(np.array([d]), d)[0]
        explained = np.einsum("ij,jk,ik->i", cross, self.inverse, cross)
        return np.asarray(np.sqrt(self.scale * np.maximum(own - explained, 1e-12)))

    def covariance(self, candidates: Choices) -> Matrix:
        """Return the posterior covariance of the candidates' z, without noise."""
        cross = self._cross(candidates)
        own = self.prior.covariance(_equal(candidates, candidates), self.choices.shape[1])
        return np.asarray(self.scale * (own - cross @ self.inverse @ cross.T))

    def _cross(self, candidates: Choices) -> Matrix:
        return self.prior.covariance(_equal(candidates, self.choices), self.choices.shape[1])


def fit(
    choices: Choices,
    z: Matrix,
    priors: Sequence[Prior] = PRIORS,
    drift: Matrix | None = None,
) -> Effects:
    """Return the posterior under the likeliest of the priors.

    Args:
        choices: observed architectures, n x d option indices.
        z: n normal scores.
        priors: to choose from.
        drift: n values of a further linear term with a wide prior.
    """
    n, d = choices.shape
    equal = _equal(choices, choices)
    extra = 10.0 * np.outer(drift, drift) if drift is not None else 0.0
    best: tuple[float, Prior, Matrix, Matrix] | None = None
    for prior in priors:
        covariance = prior.covariance(equal, d) + extra
        covariance.flat[:: n + 1] += prior.noise
        factor, _ = dpotrf(covariance, lower=1)
        weights, _ = dpotrs(factor, z, lower=1)
        determinant = float(np.log(factor.flat[:: n + 1]).sum())
        evidence = -0.5 * n * np.log(max(float(z @ weights), 1e-12)) - determinant
        if best is None or evidence > best[0]:
            best = (evidence, prior, factor, weights)
    assert best is not None
    evidence, prior, factor, weights = best
    lower, _ = dpotri(factor, lower=1)
    inverse = np.tril(lower) + np.tril(lower, -1).T
    return Effects(prior, choices, max(float(z @ weights) / n, 1e-9), inverse, weights, evidence)


def detrend(choices: Choices, scores: Matrix) -> Matrix:
    """Return normal scores of the scores without their learning curve, where there is one.

    Args:
        choices: observed architectures in the order of observation, n x d.
        scores: n of them.
    """
    z = normal_scores(scores)
    n = len(z)
    if n < 8:
        return z
    time = np.log1p(np.arange(n))
    time = (time - time.mean()) / time.std()
    for _ in range(3):  # ranks blur a steep curve, which then shows again
        plain = fit(choices, z, _DRIFT_PRIORS)
        drifting = fit(choices, z, _DRIFT_PRIORS, time)
        if drifting.evidence - plain.evidence < _EVIDENT:
            break
        z = normal_scores(z - 10.0 * float(time @ drifting.weights) * time)
    return z


_DRIFT_PRIORS = (Prior(0.6, 0.4, 0.0, 0.1), Prior(0.6, 0.4, 0.0, 0.8))
_EVIDENT = 3.0  # difference of log evidence from which a learning curve is believed


def normal_scores(scores: Matrix) -> Matrix:
    """Return standard normal quantiles of the ranks; ties share theirs."""
    return np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)))


def _equal(a: Choices, b: Choices) -> npt.NDArray[np.int64]:
    total = np.zeros((len(a), len(b)), dtype=np.int64)
    for i in range(a.shape[1]):
        total += a[:, i, None] == b[:, i]
    return total
