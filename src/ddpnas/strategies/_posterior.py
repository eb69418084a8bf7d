"""Bayesian effects of choices: what each one adds to the score, and how sure that is.

A score is shared by all decisions of its architecture, so that most of the spread of an average
over one option comes from the other decisions. Here all observations are fitted at once by

    z = mean + effects of names, of single choices, of pairs + interaction + noise,

linear with independent normal priors, so that the posterior is exact. An effect of a name is that
of an option which several decisions offer under the same name, the same in all of them. Let m be
the number of the d decisions in which two architectures are equal, c and c' how often they choose
a name. Their prior covariance is

    w0 sum over names of c c' / d  +  w1 m / d  +  w2 (m^2 - q) / (d (d - 1))  +  w3 r^(d - m)

with q = m: m (m - 1) ordered pairs of decisions are equal. The last term is for interactions of
all orders. Weights and noise are chosen from a small grid by the marginal likelihood.

Options whose effects are alike are likely to be alike in company, too. So a second fit counts two
options of a decision, with effects e and e' by the first, as s = exp(-((e - e') / u)^2 / 2) / 2
equal, u being the root mean square of the effects of all options: m is the sum of s over the
decisions (1 where equal), and q that of s^2.

z are normal scores of the ranks of the scores, so that a few failures weigh no more than their
rank. Scores that rise while weights are trained (the learning curve) are explained by a further
linear term in the logarithm of time where the marginal likelihood says so, and ranked again
without it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.special import ndtri

from ddpnas.space.decisions import Decision

__all__ = [
    "Comparison",
    "Effects",
    "Likeness",
    "Prior",
    "climb",
    "detrend",
    "fit",
    "fits",
    "normal_scores",
]

Matrix = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Likeness:
    """How architectures are compared: by the options and by the names they choose.

    Attributes:
        labels: for each decision, the number of each of its options' names.
        names: how many different names there are.
        similar: for each decision, s of its options, options x options.
    """

    labels: tuple[Choices, ...]
    names: int
    similar: tuple[Matrix, ...]

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> Likeness:
        """Return that of a space with these decisions, where only equal options are alike."""
        numbers: dict[str, int] = {}
        labels = tuple(
            np.array([numbers.setdefault(o, len(numbers)) for o in d.options], dtype=np.int64)
            for d in decisions
        )
        return cls(labels, len(numbers), tuple(np.eye(len(row)) for row in labels))

    def by_effects(self, effects: Sequence[Matrix]) -> Likeness:
        """Return that in which options of like effects are alike.

        Args:
            effects: of the options of each decision.
        """
        centred = [row - row.mean() for row in effects]
        unit = np.sqrt(np.mean(np.concatenate(centred) ** 2)) + 1e-9
        similar = []
        for row in centred:
            s = _ALIKE * np.exp(-0.5 * ((row[:, None] - row) / unit) ** 2)
            np.fill_diagonal(s, 1.0)
            similar.append(s)
        return replace(self, similar=tuple(similar))

    @property
    def common(self) -> bool:
        """Whether any name occurs in more than one decision."""
        return sum(map(len, self.labels)) > self.names

    def counts(self, choices: Choices) -> Matrix:
        """Return how often each name is chosen, architectures x names."""
        result = np.zeros((len(choices), self.names))
        rows = np.arange(len(choices))
        for labels, column in zip(self.labels, choices.T, strict=True):
            result[rows, labels[column]] += 1.0
        return result

    def compare(self, a: Choices, b: Choices) -> Comparison:
        """Return all of a compared with all of b."""
        once, squared = self._factors
        m = self._features(once, a) @ self._features(once, b).T
        q = m if squared is once else self._features(squared, a) @ self._features(squared, b).T
        d = a.shape[1]
        return Comparison(d, m, q, lambda: np.asarray(self.counts(a) @ self.counts(b).T / d))

    @functools.cached_property
    def _factors(self) -> tuple[list[Matrix], list[Matrix]]:
        """Factors f of s and of s^2: f f^T is the matrix. One list where s^2 is s."""
        once, squared = (
            [np.asarray(np.linalg.cholesky(s**power), dtype=np.float64) for s in self.similar]
            for power in (1, 2)
        )
        same = all(np.array_equal(a, b) for a, b in zip(once, squared, strict=True))
        return once, once if same else squared

    def _features(self, factors: list[Matrix], choices: Choices) -> Matrix:
        ends = np.cumsum([len(f) for f in factors])
        result = np.zeros((len(choices), ends[-1]))
        if self._factors[0] is self._factors[1]:  # units: no option is like another
            starts = np.concatenate([[0], ends[:-1]])
            result[np.arange(len(choices))[:, None], choices + starts] = 1.0
            return result
        for f, column, end in zip(factors, choices.T, ends, strict=True):
            result[:, end - len(f) : end] = f[column]
        return result


@dataclass(frozen=True, eq=False)
class Comparison:
    """Architectures compared with others once, for the covariance under many priors.

    Attributes:
        d: number of decisions.
        m: of the text above, of every pair.
        q: likewise.
        shared: gives the sum over names of c c' / d, of every pair.
    """

    d: int
    m: Matrix
    q: Matrix
    shared: Callable[[], Matrix]

    @functools.cached_property
    def alike(self) -> Matrix:
        """The sum over names of c c' / d."""
        return self.shared()

    @functools.cached_property
    def pairs(self) -> Matrix:
        """m^2 - q."""
        return np.asarray(self.m * self.m - self.q)

    @functools.cached_property
    def near(self) -> Matrix:
        """r^(d - m)."""
        return np.asarray(_DECAY ** (self.d - self.m))


@dataclass(frozen=True)
class Prior:
    """Variances, relative to the scale of the fit.

    Attributes:
        shared, single, pair, interaction: w0, w1, w2, w3 above.
        noise: of one score.
    """

    shared: float
    single: float
    pair: float
    interaction: float
    noise: float

    def by_count(self, d: int) -> Matrix:
        """Return the prior covariance by the number of equal decisions, without ``shared``."""
        at = np.arange(d + 1.0)
        return replace(self, shared=0.0).covariance(Comparison(d, at, at, lambda: at))

    def covariance(self, compared: Comparison) -> Matrix:
        """Return the prior covariance of architectures, a new matrix."""
        d = compared.d
        result = self.single / d * compared.m + _MEAN
        if self.pair:
            result += self.pair / max(1, d * (d - 1)) * compared.pairs
        if self.interaction:
            result += self.interaction * compared.near
        if self.shared:
            result += self.shared * compared.alike
        return np.asarray(result)

    def variance(self, likeness: Likeness, a: Choices) -> Matrix:
        """Return the prior variance of each architecture."""
        d = a.shape[1]
        result = np.full(len(a), self.by_count(d)[d])
        if self.shared:
            result += self.shared * (likeness.counts(a) ** 2).sum(axis=1) / d
        return result


_MEAN = 1.0  # prior variance of the mean
_DECAY = 0.7  # r above, the correlation that is left after one different choice
_ALIKE = 0.5  # s of two options with equal effects
_SHARED = (0.0, 0.3, 1.0)
_SHAPES = (
    (1.0, 0.0, 0.0),
    (0.6, 0.4, 0.0),
    (0.2, 0.8, 0.0),
    (0.5, 0.0, 0.5),
    (0.3, 0.3, 0.4),
    (0.1, 0.1, 0.8),
)
_NOISES = (0.02, 0.1, 0.3, 0.8)
PRIORS = tuple(
    Prior(shared, *shape, noise) for shared in _SHARED for shape in _SHAPES for noise in _NOISES
)


@dataclass(frozen=True)
class Effects:
    """The posterior under one prior.

    Attributes:
        likeness: how architectures are compared.
        prior: of the effects.
        choices: observed architectures, n x d option indices.
        fitted: posterior mean of z of what was observed.
        scale: variance that all of ``prior`` is relative to.
        inverse: of the covariance of the observations, n x n, without the scale.
        weights: inverse times z.
        evidence: logarithm of the marginal likelihood, without constants.
    """

    likeness: Likeness
    prior: Prior
    choices: Choices
    fitted: Matrix
    scale: float
    inverse: Matrix
    weights: Matrix
    evidence: float

    def mean(self, candidates: Choices) -> Matrix:
        """Return the posterior mean of z of each candidate (m x d option indices)."""
        return np.asarray(self._cross(candidates) @ self.weights)

    def mean_and_spread(self, candidates: Choices) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation of each candidate's z, without noise."""
        cross = self._cross(candidates)
        own = self.prior.variance(self.likeness, candidates)
        left = own - ((cross @ self.inverse) * cross).sum(axis=1)
        return cross @ self.weights, np.sqrt(self.scale * np.maximum(left, 1e-12))

    def mean_and_covariance(self, own: Comparison, seen: Comparison) -> tuple[Matrix, Matrix]:
        """Return posterior mean and covariance of candidates' z, without noise.

        Args:
            own: the candidates compared with each other.
            seen: the candidates compared with what was observed.
        """
        cross = self.prior.covariance(seen)
        before = self.prior.covariance(own)
        return cross @ self.weights, self.scale * (before - cross @ self.inverse @ cross.T)

    def _cross(self, candidates: Choices) -> Matrix:
        return self.prior.covariance(self.likeness.compare(candidates, self.choices))


class _Observed:
    """Observations compared with each other once, for fits under many priors."""

    def __init__(self, likeness: Likeness, choices: Choices) -> None:
        self.likeness, self.choices = likeness, choices
        self.compared = likeness.compare(choices, choices)

    def factor(self, prior: Prior, z: Matrix, extra: Matrix | None = None) -> _Factored:
        n = len(self.choices)
        covariance = prior.covariance(self.compared)
        if extra is not None:
            covariance += extra
        covariance.flat[:: n + 1] += prior.noise
        factor, _ = dpotrf(covariance, lower=1, overwrite_a=1)
        weights, _ = dpotrs(factor, z, lower=1)
        fitted = max(float(z @ weights), 1e-12)
        evidence = -0.5 * n * np.log(fitted) - float(np.log(factor.flat[:: n + 1]).sum())
        return _Factored(prior, z, factor, weights, evidence, max(fitted / n, 1e-9))

    def effects(self, found: _Factored) -> Effects:
        lower, _ = dpotri(found.factor, lower=1)
        lower = np.tril(lower)
        inverse = lower + lower.T
        np.fill_diagonal(inverse, lower.diagonal())
        return Effects(
            self.likeness,
            found.prior,
            self.choices,
            found.z - found.prior.noise * found.weights,
            found.scale,
            inverse,
            found.weights,
            found.evidence,
        )


@dataclass(frozen=True)
class _Factored:
    prior: Prior
    z: Matrix
    factor: Matrix
    weights: Matrix
    evidence: float
    scale: float


def fit(likeness: Likeness, choices: Choices, z: Matrix, prior: Prior) -> Effects:
    """Return the posterior under the prior.

    Args:
        likeness: how architectures are compared.
        choices: observed architectures, n x d option indices.
        z: n normal scores.
        prior: of the effects.
    """
    observed = _Observed(likeness, choices)
    return observed.effects(observed.factor(prior, z))


def fits(
    likeness: Likeness, choices: Choices, z: Matrix, least: float = 0.01
) -> tuple[list[Effects], Matrix]:
    """Return the posterior under every prior of the grid that matters, and their probabilities.

    Each prior is equally likely before the scores are seen.

    Args:
        likeness: how architectures are compared.
        choices: observed architectures, n x d option indices.
        z: n normal scores.
        least: priors less likely than so many times the likeliest are left out.
    """
    observed = _Observed(likeness, choices)
    found = [observed.factor(prior, z) for prior in _priors(likeness)]
    evidence = np.array([f.evidence for f in found])
    weights = np.exp(evidence - evidence.max())
    kept = [observed.effects(f) for f, w in zip(found, weights, strict=True) if w >= least]
    weights = weights[weights >= least]
    return kept, weights / weights.sum()


def climb(likeness: Likeness, choices: Choices, z: Matrix, prior: Prior | None) -> Effects:
    """Return the posterior under a prior at least as likely as the one given.

    Args:
        likeness: how architectures are compared.
        choices: observed architectures, n x d option indices.
        z: n normal scores.
        prior: where one sweep of the grid, axis by axis, starts; None: all of the grid is tried.
    """
    observed = _Observed(likeness, choices)
    if prior is None:
        tried = [observed.factor(p, z) for p in _priors(likeness)]
        return observed.effects(max(tried, key=lambda f: f.evidence))
    best = observed.factor(prior, z)
    for axis in (_SHAPES, _NOISES, _SHARED if likeness.common else ()):
        others = [_with(best.prior, axis, value) for value in axis]
        tried = [observed.factor(other, z) for other in others if other != best.prior]
        best = max([best, *tried], key=lambda f: f.evidence)
    return observed.effects(best)


def _priors(likeness: Likeness) -> list[Prior]:
    return [p for p in PRIORS if likeness.common or not p.shared]


def _with(prior: Prior, axis: object, value: float | tuple[float, float, float]) -> Prior:
    if isinstance(value, tuple):
        return replace(prior, single=value[0], pair=value[1], interaction=value[2])
    return replace(prior, noise=value) if axis is _NOISES else replace(prior, shared=value)


def detrend(likeness: Likeness, choices: Choices, scores: Matrix) -> tuple[Matrix, bool]:
    """Return normal scores of the scores without their learning curve, and whether there is one.

    Args:
        likeness: how architectures are compared.
        choices: observed architectures in the order of observation, n x d.
        scores: n of them.
    """
    z = normal_scores(scores)
    n = len(z)
    if n < 8:
        return z, False
    observed = _Observed(likeness, choices)
    time = np.log1p(np.arange(n))
    time = (time - time.mean()) / time.std()
    extra = 10.0 * np.outer(time, time)
    for round_ in range(3):  # ranks blur a steep curve, which then shows again
        plain = max(observed.factor(prior, z).evidence for prior in _DRIFT_PRIORS)
        drifting = max(
            (observed.factor(prior, z, extra) for prior in _DRIFT_PRIORS),
            key=lambda f: f.evidence,
        )
        if drifting.evidence - plain < _EVIDENT:
            return z, round_ > 0
        z = normal_scores(z - 10.0 * float(time @ drifting.weights) * time)
    return z, True


_DRIFT_PRIORS = (Prior(0.0, 0.6, 0.4, 0.0, 0.1), Prior(0.0, 0.6, 0.4, 0.0, 0.8))
_EVIDENT = 3.0  # difference of log evidence from which a learning curve is believed


def normal_scores(scores: Matrix) -> Matrix:
    """Return standard normal quantiles of the ranks; ties share theirs."""
    _, which, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(ties) - 0.5 * ties
    return np.asarray(ndtri(ranks / len(scores))[which])
