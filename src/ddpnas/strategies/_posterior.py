"""A Gaussian process over architectures: what every choice adds to the score, and how sure that is.

A score is shared by all decisions of its architecture, so most of the spread of an average over
one option comes from the other decisions. The process fits all scores at once, as a sum of
effects of names, of single choices, of pairs of choices and of interactions of all orders.

Notation
    n   number of observations          d    number of decisions
    X   (n, d)  option indices          z    (n,)  normal scores of the ranks of the scores
    k   covariance of two architectures, see :mod:`ddpnas.strategies._kernel`

    mean at A        k(A, X) (k(X, X) + noise I)^-1 z
    covariance at A  scale (k(A, A) - k(A, X) (k(X, X) + noise I)^-1 k(X, A))
    scale            z' (k(X, X) + noise I)^-1 z / n,  multiplies every variance
    evidence         log marginal likelihood of z at that scale, without constants

The weights w0 to w3 and the noise (:class:`PriorVariances`) come from a small grid, by evidence.

Scores become normal scores of their ranks, so a few failures weigh no more than their rank.
Scores may rise while weights are trained. Where the evidence says so, that learning curve is fitted
as a linear term in the logarithm of time, and the scores are ranked again without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.special import ndtri

from ddpnas.strategies._kernel import ChoiceKernel, KernelTerms, Matrix, PriorVariances
from ddpnas.strategies.legal import Choices

__all__ = [
    "PRIORS",
    "Observations",
    "Posterior",
    "fit_all_priors",
    "fit_best_prior",
    "fit_prior",
    "normal_scores",
]


# Chosen on NAS-Bench-Macro and on synthetic tables (records/strategies.md).
_SHARED = (0.0, 0.3, 1.0)
_SHAPES = (  # of single, pair and interaction; they sum to 1, because the scale is estimated
    (1.0, 0.0, 0.0),
    (0.6, 0.4, 0.0),
    (0.2, 0.8, 0.0),
    (0.5, 0.0, 0.5),
    (0.3, 0.3, 0.4),
    (0.1, 0.1, 0.8),
)
_NOISES = (0.02, 0.1, 0.3, 0.8)
PRIORS = tuple(
    PriorVariances(shared, *shape, noise)
    for shared in _SHARED
    for shape in _SHAPES
    for noise in _NOISES
)
_CURVE_PRIORS = (
    PriorVariances(0.0, 0.6, 0.4, 0.0, 0.1),
    PriorVariances(0.0, 0.6, 0.4, 0.0, 0.8),
)
_CURVE_VARIANCE = 10.0  # prior variance of the slope in time: so wide that the scores decide
_CURVE_EVIDENCE = 3.0  # difference of evidence, a factor of 20, from which a curve is believed
_FEWEST_FOR_A_CURVE = 8  # scores


@dataclass(frozen=True)
class Posterior:
    """The posterior under one prior.

    Attributes:
        kernel: How architectures are compared.
        prior: The prior variances.
        choices: X, the observed architectures, (n, d) option indices.
        fitted: (n,) posterior mean of z at X.
        scale: Variance that all of ``prior`` is relative to.
        inverse: (n, n) inverse of k(X, X) + noise I.
        weights: (n,) ``inverse`` times z.
        evidence: Logarithm of the marginal likelihood, without constants.
    """

    kernel: ChoiceKernel
    prior: PriorVariances
    choices: Choices
    fitted: Matrix
    scale: float
    inverse: Matrix
    weights: Matrix
    evidence: float

    def mean(self, candidates: Choices) -> Matrix:
        """Return the (m,) posterior means of z of candidates, (m, d) option indices."""
        return np.asarray(self._cross(candidates) @ self.weights)

    def mean_and_spread(self, candidates: Choices) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation of each candidate's z, without noise."""
        cross = self._cross(candidates)
        before = self.prior.variance(self.kernel, candidates)
        left = before - ((cross @ self.inverse) * cross).sum(axis=1)
        return cross @ self.weights, np.sqrt(self.scale * np.maximum(left, 1e-12))

    def mean_and_covariance(
        self, with_each_other: KernelTerms, with_observed: KernelTerms
    ) -> tuple[Matrix, Matrix]:
        """Return posterior mean and covariance of candidates' z, without noise.

        Args:
            with_each_other: The candidates compared with each other.
            with_observed: The candidates compared with ``choices``.
        """
        cross = self.prior.covariance(with_observed)
        before = self.prior.covariance(with_each_other)
        return cross @ self.weights, self.scale * (before - cross @ self.inverse @ cross.T)

    def _cross(self, candidates: Choices) -> Matrix:
        return self.prior.covariance(self.kernel.compare(candidates, self.choices))


class Observations:
    """Scored architectures, compared with each other once for all fits.

    Args:
        kernel: How architectures are compared.
        choices: X, (n, d) option indices, in the order of observation.
        z: (n,) normal scores.
        terms: X compared with itself, if that is known.
    """

    def __init__(
        self, kernel: ChoiceKernel, choices: Choices, z: Matrix, terms: KernelTerms | None = None
    ) -> None:
        self.kernel, self.choices, self.z = kernel, choices, z
        self._terms = terms

    @property
    def terms(self) -> KernelTerms:
        """X compared with itself."""
        if self._terms is None:
            self._terms = self.kernel.compare(self.choices, self.choices)
        return self._terms

    def under(self, kernel: ChoiceKernel) -> Observations:
        """Return the same scores for another kernel."""
        return Observations(kernel, self.choices, self.z)

    def without_curve(self) -> tuple[Observations, bool]:
        """Return the observations without their learning curve, and whether there is one."""
        z, n = self.z, len(self.z)
        if n < _FEWEST_FOR_A_CURVE:
            return self, False
        time = np.log1p(np.arange(n))
        time = (time - time.mean()) / time.std()
        curve = _CURVE_VARIANCE * np.outer(time, time)
        for round_ in range(3):  # ranks blur a steep curve, which then shows again
            plain = max(self.factor(prior, z).evidence for prior in _CURVE_PRIORS)
            drifting = max(
                (self.factor(prior, z, curve) for prior in _CURVE_PRIORS),
                key=lambda f: f.evidence,
            )
            if drifting.evidence - plain < _CURVE_EVIDENCE:
                return Observations(self.kernel, self.choices, z, self.terms), round_ > 0
            z = normal_scores(z - _CURVE_VARIANCE * float(time @ drifting.weights) * time)
        return Observations(self.kernel, self.choices, z, self.terms), True

    def factor(self, prior: PriorVariances, z: Matrix, extra: Matrix | None = None) -> Factored:
        """Return the Cholesky factor of k(X, X) + noise I and what follows from it.

        Args:
            prior: The prior variances.
            z: (n,) what is fitted.
            extra: (n, n) further covariance.
        """
        n = len(self.choices)
        covariance = prior.covariance(self.terms)
        if extra is not None:
            covariance += extra
        covariance.flat[:: n + 1] += prior.noise
        factor, _ = dpotrf(covariance, lower=1, overwrite_a=1)
        weights, _ = dpotrs(factor, z, lower=1)
        fitted = max(float(z @ weights), 1e-12)
        evidence = -0.5 * n * np.log(fitted) - float(np.log(factor.flat[:: n + 1]).sum())
        return Factored(prior, z, factor, weights, evidence, max(fitted / n, 1e-9))

    def posterior(self, found: Factored) -> Posterior:
        """Return the posterior that belongs to a Cholesky factor."""
        lower, _ = dpotri(found.factor, lower=1)
        lower = np.tril(lower)
        inverse = lower + lower.T
        np.fill_diagonal(inverse, lower.diagonal())
        return Posterior(
            self.kernel,
            found.prior,
            self.choices,
            found.z - found.prior.noise * found.weights,
            found.scale,
            inverse,
            found.weights,
            found.evidence,
        )

    def priors(self) -> list[PriorVariances]:
        """Return the grid of priors, without effects of names where no name is shared."""
        return [p for p in PRIORS if self.kernel.shares_names or not p.shared]


@dataclass(frozen=True)
class Factored:
    """A Cholesky factor of the covariance of the observations, see :class:`Posterior`."""

    prior: PriorVariances
    z: Matrix
    factor: Matrix
    weights: Matrix
    evidence: float
    scale: float


def fit_prior(observations: Observations, prior: PriorVariances) -> Posterior:
    """Return the posterior under one prior."""
    return observations.posterior(observations.factor(prior, observations.z))


def fit_all_priors(
    observations: Observations, least: float = 0.01
) -> tuple[list[Posterior], Matrix]:
    """Return the posterior under every prior of the grid that matters, and their probabilities.

    Each prior is equally likely before the scores are seen.

    Args:
        observations: What was scored.
        least: Priors whose probability is less than this share of the largest are left out.
    """
    z = observations.z
    found = [observations.factor(prior, z) for prior in observations.priors()]
    evidence = np.array([f.evidence for f in found])
    weights = np.exp(evidence - evidence.max())
    kept = [observations.posterior(f) for f, w in zip(found, weights, strict=True) if w >= least]
    weights = weights[weights >= least]
    return kept, weights / weights.sum()


def fit_best_prior(observations: Observations, start: PriorVariances | None = None) -> Posterior:
    """Return the posterior under the prior of the largest evidence.

    Args:
        observations: What was scored.
        start: Where one sweep of the grid, axis by axis, starts; the prior found is at least as
            likely. None tries the whole grid.
    """
    z = observations.z
    if start is None:
        tried = [observations.factor(p, z) for p in observations.priors()]
        return observations.posterior(max(tried, key=lambda f: f.evidence))
    best = observations.factor(start, z)
    for axis in (_SHAPES, _NOISES, _SHARED if observations.kernel.shares_names else ()):
        others = [_with(best.prior, axis, value) for value in axis]
        tried = [observations.factor(other, z) for other in others if other != best.prior]
        best = max([best, *tried], key=lambda f: f.evidence)
    return observations.posterior(best)


def _with(
    prior: PriorVariances, axis: object, value: float | tuple[float, float, float]
) -> PriorVariances:
    if isinstance(value, tuple):
        return replace(prior, single=value[0], pair=value[1], interaction=value[2])
    return replace(prior, noise=value) if axis is _NOISES else replace(prior, shared=value)


def normal_scores(scores: Matrix) -> Matrix:
    """Return standard normal quantiles of the ranks; ties share theirs.

    Example:
        >>> normal_scores(np.array([0.1, 0.7, 0.4])).round(2)
        array([-0.97,  0.97,  0.  ])
    """
    _, which, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(ties) - 0.5 * ties
    return np.asarray(ndtri(ranks / len(scores))[which])
