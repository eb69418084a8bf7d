"""How architectures are compared: the covariance of their scores before any score is known.

Notation
    d   number of decisions             K_i  options of decision i
    S_i (K_i, K_i)  similarity of options of decision i, with ones on the diagonal
    M   (n, m)  M_ab = sum_i S_i[x_ai, x_bi]            how many choices two architectures share
    Q   (n, m)  Q_ab = sum_i S_i[x_ai, x_bi]^2
    C   (n, names)  how often an architecture chooses an option of that name

    k = 1 + w0 C C' / d + w1 M / d + w2 (M^2 - Q) / (d (d - 1)) + w3 r^(d - M)

Two kernels are used. In the plain one, S_i is the identity where options have no order: M counts
equal choices, Q = M, and M^2 - Q = M (M - 1) counts ordered pairs of them. Options with values v,
such as widths, have S = exp(-|log v - log v'| / l) instead. It is positive definite, and the closer
two widths are, the more a score of one says about the other. Between two widths that were scored,
the fit is nearly linear in log v; beyond them it is nearly flat. l is large, so that a decision of
near widths has small effects.

Options whose effects are alike are likely to be alike in company, too. So a second kernel has
(1 - s) S + s exp(-((e - e') / u)^2 / 2), with s = 1/2, for two options with the effects e and e'
under the first, u being the root mean square of all effects.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ddpnas.space.decisions import Decision
from ddpnas.strategies.legal import Choices

__all__ = ["CORRELATION", "ChoiceKernel", "KernelTerms", "Matrix", "PriorVariances"]

Matrix = npt.NDArray[np.float64]

# Chosen on NAS-Bench-Macro and on synthetic tables (records/strategies.md).
_MEAN = 1.0  # prior variance of the mean
CORRELATION = 0.7  # r above, the correlation that is left after one different choice
_SIMILARITY = 0.5  # S of two options with equal effects
_LENGTH = 2.0  # l above: the correlation of 16 and 24 channels is 0.82, that of 16 and 64 is 0.5


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


def _kinds(decisions: Sequence[Decision]) -> list[int]:
    """Return a number for each decision, equal where they offer about the same options."""
    offered = [frozenset(d.options) for d in decisions]
    kinds = {options: i for i, options in enumerate(dict.fromkeys(offered))}
    for one, other in itertools.combinations(list(kinds), 2):
        if 2 * len(one & other) >= len(one | other):
            merged, into = kinds[other], kinds[one]
            kinds = {options: into if k == merged else k for options, k in kinds.items()}
    return [kinds[options] for options in offered]


def _similarity(decision: Decision) -> Matrix:
    """Return S under the plain kernel, options x options."""
    if decision.values is None:
        return np.eye(len(decision.options))
    values = np.array(decision.values, dtype=np.float64)
    if values[0] <= 0:  # has no logarithm
        values += 1.0 - values[0]
    gap = np.abs(np.subtract.outer(np.log(values), np.log(values)))
    return np.asarray(np.exp(-gap / _LENGTH))
