"""A Gaussian process over architectures: what every choice adds to the score, and how sure that is.

A score is shared by all decisions of its architecture, so most of the spread of an average over
one option comes from the other decisions. The process fits all scores at once, as a sum of
effects of names, of single choices, of pairs of choices and of interactions of all orders.

Notation
    n   number of observations          d    number of decisions      K_i  options of decision i
    X   (n, d)  option indices          z    (n,)  normal scores of the ranks of the scores
    S_i (K_i, K_i)  similarity of options of decision i, with ones on the diagonal
    M   (n, n)  M_ab = sum_i S_i[x_ai, x_bi]            how many choices two architectures share
    Q   (n, n)  Q_ab = sum_i S_i[x_ai, x_bi]^2
    C   (n, names)  how often an architecture chooses an option of that name

    k = 1 + w0 C C' / d + w1 M / d + w2 (M^2 - Q) / (d (d - 1)) + w3 r^(d - M)

    mean at A        k(A, X) (k(X, X) + noise I)^-1 z
    covariance at A  scale (k(A, A) - k(A, X) (k(X, X) + noise I)^-1 k(X, A))
    scale            z' (k(X, X) + noise I)^-1 z / n,  multiplies every variance
    evidence         log marginal likelihood of z at that scale, without constants

The weights w0 to w3 and the noise (:class:`PriorVariances`) come from a small grid, by evidence.

Two kernels are used. In the plain one, S_i is the identity where options have no order: M counts
equal choices, Q = M, and M^2 - Q = M (M - 1) counts ordered pairs of them. Options with values v,
such as widths, have S = exp(-|log v - log v'| / l) instead. It is positive definite, and the closer
two widths are, the more a score of one says about the other. Between two widths that were scored,
the fit is nearly linear in log v; beyond them it is nearly flat. l is large, so that a decision of
near widths has small effects.

Options whose effects are alike are likely to be alike in company, too. So a second kernel has
(1 - s) S + s exp(-((e - e') / u)^2 / 2), with s = 1/2, for two options with the effects e and e'
under the first, u being the root mean square of all effects.

Scores become normal scores of their ranks, so a few failures weigh no more than their rank.
Scores may rise while weights are trained. Where the evidence says so, that learning curve is fitted
as a linear term in the logarithm of time, and the scores are ranked again without it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.special import ndtri

from ddpnas.space.decisions import Decision
from ddpnas.strategies.legal import Choices

__all__ = [
    "CORRELATION",
    "PRIORS",
    "ChoiceKernel",
    "KernelTerms",
    "Matrix",
    "Observations",
    "Posterior",
    "PriorVariances",
    "fit_all_priors",
    "fit_best_prior",
    "fit_prior",
    "normal_scores",
]

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChoiceKernel:
    """How architectures are compared: by the options and by the names that they choose.

    Attributes:
        labels: For each decision, the number of each of its options' names.
        names: Number of different names.
        similar: For each decision the matrix S_i, options x options.
    """

    labels: tuple[Choices, ...]
    names: int
    similar: tuple[Matrix, ...]

    @classmethod
    def plain(cls, decisions: Sequence[Decision]) -> ChoiceKernel:
        """Return the kernel in which equal options are alike, and values that are close.

        A name counts as the same in two decisions if they offer about the same options: at least
        half of all that either offers, directly or over further decisions between them. So the
        "1" of an expansion (1, 4, 6) is not that of a number of layers (1, 2, 3).
        """
        numbers: dict[tuple[int, str], int] = {}
        labels = tuple(
            np.array([numbers.setdefault((kind, o), len(numbers)) for o in d.options], np.int64)
            for kind, d in zip(_kinds(decisions), decisions, strict=True)
        )
        return cls(labels, len(numbers), tuple(_similarity(d) for d in decisions))

    def by_effects(self, effects: Sequence[Matrix]) -> ChoiceKernel:
        """Return the kernel in which options of similar effects are alike.

        Args:
            effects: For each decision, the effects of its options.
        """
        centered = [row - row.mean() for row in effects]
        unit = np.sqrt(np.mean(np.concatenate(centered) ** 2)) + 1e-9
        similar = []
        for row, before in zip(centered, self.similar, strict=True):
            s = _SIMILARITY * np.exp(-0.5 * ((row[:, None] - row) / unit) ** 2)
            s += (1.0 - _SIMILARITY) * before
            similar.append(s)
        return replace(self, similar=tuple(similar))

    @property
    def shares_names(self) -> bool:
        """Whether any name occurs in more than one decision."""
        return sum(map(len, self.labels)) > self.names

    def counts(self, choices: Choices) -> Matrix:
        """Return C, how often each name is chosen: (n, names)."""
        result = np.zeros((len(choices), self.names))
        rows = np.arange(len(choices))
        for labels, column in zip(self.labels, choices.T, strict=True):
            result[rows, labels[column]] += 1.0
        return result

    def compare(self, a: Choices, b: Choices) -> KernelTerms:
        """Return the terms of k for all of ``a`` with all of ``b``, both n x d option indices."""
        once, squared = self._factors
        M = self._features(once, a) @ self._features(once, b).T
        Q = M if squared is once else self._features(squared, a) @ self._features(squared, b).T
        d = a.shape[1]
        return KernelTerms(d, M, Q, lambda: np.asarray(self.counts(a) @ self.counts(b).T / d))

    @property
    def _is_plain(self) -> bool:
        """Whether S^2 = S, so that Q = M and no product is needed."""
        return self._factors[0] is self._factors[1]

    @functools.cached_property
    def _factors(self) -> tuple[list[Matrix], list[Matrix]]:
        """Factors F of each S and of each S^2, with F F' the matrix; one list where S^2 = S."""
        once, squared = (
            [np.asarray(np.linalg.cholesky(s**power), dtype=np.float64) for s in self.similar]
            for power in (1, 2)
        )
        same = all(np.array_equal(a, b) for a, b in zip(once, squared, strict=True))
        return once, once if same else squared

    def _features(self, factors: list[Matrix], choices: Choices) -> Matrix:
        """Return (n, options) features whose inner products are M or Q."""
        ends = np.cumsum([len(f) for f in factors])
        result = np.zeros((len(choices), ends[-1]))
        if self._is_plain:
            starts = np.concatenate([[0], ends[:-1]])
            result[np.arange(len(choices))[:, None], choices + starts] = 1.0
            return result
        for f, column, end in zip(factors, choices.T, ends, strict=True):
            result[:, end - len(f) : end] = f[column]
        return result


def _kinds(decisions: Sequence[Decision]) -> list[int]:
    """Return a number for each decision, equal where they offer about the same options."""
    offered = [frozenset(d.options) for d in decisions]
    kinds = {options: i for i, options in enumerate(dict.fromkeys(offered))}
    for one, other in itertools.combinations(list(kinds), 2):
        if 2 * len(one & other) >= len(one | other):
            merged, into = kinds[other], kinds[one]
            kinds = {options: into if k == merged else k for options, k in kinds.items()}
    return [kinds[options] for options in offered]


@dataclass(frozen=True, eq=False)
class KernelTerms:
    """What k needs of two lists of architectures, under whatever prior; worked out once.

    Attributes:
        d: Number of decisions.
        M: See the notation above; (n, m).
        Q: See the notation above; (n, m).
        name_products: Returns C C' / d, which only spaces with shared names need.
    """

    d: int
    M: Matrix
    Q: Matrix
    name_products: Callable[[], Matrix]

    @functools.cached_property
    def names(self) -> Matrix:
        """C C' / d."""
        return self.name_products()

    @functools.cached_property
    def pairs(self) -> Matrix:
        """M^2 - Q."""
        return np.asarray(self.M * self.M - self.Q)

    @functools.cached_property
    def nearness(self) -> Matrix:
        """r^(d - M)."""
        return np.asarray(CORRELATION ** (self.d - self.M))


@dataclass(frozen=True)
class PriorVariances:
    """The prior variances, in units of the scale.

    Attributes:
        shared: w0, of effects of names.
        single: w1, of effects of single choices.
        pair: w2, of effects of pairs of choices.
        interaction: w3, of interactions of all orders.
        noise: Variance of the noise of one score.
    """

    shared: float
    single: float
    pair: float
    interaction: float
    noise: float

    def by_count(self, d: int) -> Matrix:
        """Return k by the number of equal decisions, 0 to d, without the effects of names."""
        count = np.arange(d + 1.0)
        return replace(self, shared=0.0).covariance(KernelTerms(d, count, count, lambda: count))

    def covariance(self, terms: KernelTerms) -> Matrix:
        """Return k, a new matrix."""
        d = terms.d
        result = self.single / d * terms.M + _MEAN
        if self.pair:
            result += self.pair / max(1, d * (d - 1)) * terms.pairs
        if self.interaction:
            result += self.interaction * terms.nearness
        if self.shared:
            result += self.shared * terms.names
        return np.asarray(result)

    def variance(self, kernel: ChoiceKernel, choices: Choices) -> Matrix:
        """Return k of each architecture with itself, (n,)."""
        d = choices.shape[1]
        result = np.full(len(choices), self.by_count(d)[d])
        if self.shared:
            result += self.shared * (kernel.counts(choices) ** 2).sum(axis=1) / d
        return result


# Chosen on NAS-Bench-Macro and on synthetic tables (records/strategies.md).
_MEAN = 1.0  # prior variance of the mean
CORRELATION = 0.7  # r above, the correlation that is left after one different choice
_SIMILARITY = 0.5  # S of two options with equal effects
_LENGTH = 2.0  # l above: the correlation of 16 and 24 channels is 0.82, that of 16 and 64 is 0.5
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


def _similarity(decision: Decision) -> Matrix:
    """Return S under the plain kernel, options x options."""
    if decision.values is None:
        return np.eye(len(decision.options))
    values = np.array(decision.values, dtype=np.float64)
    if values[0] <= 0:  # has no logarithm
        values += 1.0 - values[0]
    gap = np.abs(np.subtract.outer(np.log(values), np.log(values)))
    return np.asarray(np.exp(-gap / _LENGTH))


def normal_scores(scores: Matrix) -> Matrix:
    """Return standard normal quantiles of the ranks; ties share theirs.

    Example:
        >>> normal_scores(np.array([0.1, 0.7, 0.4])).round(2)
        array([-0.97,  0.97,  0.  ])
    """
    _, which, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(ties) - 0.5 * ties
    return np.asarray(ndtri(ranks / len(scores))[which])
