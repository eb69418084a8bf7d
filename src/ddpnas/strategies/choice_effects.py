"""choice_effects(): what each option adds to the score, and how sure that is.

The fit is the first one of DDPNAS's search (:mod:`ddpnas.strategies._posterior`), averaged over its
priors by their evidence.

The effect of an option is the score with it, averaged over all combinations of the other decisions
(each equally likely, rules not considered), minus the same average over all options of its
decision. It is linear in the fitted function, so its posterior is exact.

Notation, besides that of the posterior
    p_j    an option of decision j, drawn uniformly; each of the other decisions has its own
    a_j(x) mean over p_j of S_j[p_j, x_j]           b_j(x) mean over p_j of r^-S_j[p_j, x_j]
    h_i(o) what of the covariance of x with (o, p) depends on o, averaged over p
    c_o(x) how often x chooses the name of option o, less the mean over the options of decision i

    h_i(o) = S_i[o, x_i] (w1 / d + 2 w2 sum_j a_j(x) / (d (d - 1)))
             + w3 r^(d - S_i[o, x_i]) prod_j b_j(x),      j over all decisions but i

    covariance with architecture x   h_i(o) less its mean over o, + w0 c_o(x) / d
    prior variance                   the same for x = (o, p), averaged over p; w0 (1 - 1 / K_i) / d

The fit sees normal scores of ranks. The slope of the regression of the scores on their normal
scores brings an effect back to the unit of the scores. For a normal variable it is the mean
derivative of the score by its normal score (Stein's lemma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnas.errors import DataError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies._kernel import CORRELATION, ChoiceKernel, Matrix, PriorVariances
from ddpnas.strategies._posterior import Observations, fit_all_priors, normal_scores

__all__ = ["ChoiceEffect", "choice_effects"]


@dataclass(frozen=True)
class ChoiceEffect:
    """The effect of one option on the score.

    Attributes:
        decision: Name of the decision.
        option: Name of the option.
        mean: Posterior mean, in units of the score. The means of a decision sum to 0.
        spread: Posterior standard deviation, in units of the score.
        count: Number of scored architectures that have the option.
    """

    decision: str
    option: str
    mean: float
    spread: float
    count: int


def choice_effects(
    space: DecisionSpace,
    architectures: Sequence[Mapping[str, str]],
    scores: Sequence[float],
) -> tuple[ChoiceEffect, ...]:
    """Return the effect of every option on the score, in the order of the space.

    Args:
        space: The decisions.
        architectures: What was scored, in the order of scoring (a learning curve is removed).
        scores: One score each, higher is better. Scores that are not finite count as the worst.

    Raises:
        DataError: The numbers of architectures and scores differ, or there are fewer than two
            different finite scores.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision("a", ("x", "y")), Decision("b", ("x", "y"))])
        >>> scored = [{"a": a, "b": b} for a in "xy" for b in "xy"]
        >>> best = max(choice_effects(space, scored, [0.1, 0.2, 0.7, 0.8]), key=lambda e: e.mean)
        >>> best.decision, best.option, best.count
        ('a', 'y', 2)
    """
    if len(architectures) != len(scores):
        raise DataError(f"{len(architectures)} architectures have {len(scores)} scores")
    given = np.array(scores, dtype=np.float64)
    finite = np.isfinite(given)
    if len(np.unique(given[finite])) < 2:
        raise DataError("effects of choices need at least two different scores")
    given[~finite] = given[finite].min()
    choices = np.array([space.encode(a) for a in architectures], dtype=np.int64)
    kernel = ChoiceKernel.plain(space.decisions)
    observations, _ = Observations(kernel, choices, normal_scores(given)).without_curve()
    z = observations.z
    slope = float(np.cov(given[finite], z[finite])[0, 1] / z[finite].var(ddof=1))
    posteriors, weights = fit_all_priors(observations)
    counts = kernel.counts(choices)
    stretch = len(z) / max(1, len(z) - 2)  # variance of a t distribution: the scale is estimated
    d = len(space.decisions)
    near = [s[:, column] for s, column in zip(kernel.similar, choices.T, strict=True)]
    company = _company(near, axis=0)  # of the scored architectures
    typical = _company(kernel.similar, axis=None)
    result = []
    for i, decision in enumerate(space.decisions):
        k, others = len(decision.options), np.arange(d) != i
        named = counts[:, kernel.labels[i]].T
        named = (named - named.mean(axis=0)) / d
        means, variances = np.zeros((len(posteriors), k)), np.zeros((len(posteriors), k))
        for j, posterior in enumerate(posteriors):
            prior = posterior.prior
            cross = _with_option(prior, near[i], company[:, others])
            cross += prior.shared * named - cross.mean(axis=0)
            before = _with_option(prior, kernel.similar[i], typical[:, others])
            before = before.diagonal() - 2.0 * before.mean(axis=0) + before.mean()
            before = before + prior.shared / d * (1.0 - 1.0 / k)
            explained = ((cross @ posterior.inverse) * cross).sum(axis=1)
            means[j] = cross @ posterior.weights
            variances[j] = stretch * posterior.scale * np.maximum(before - explained, 0.0)
        mean = weights @ means
        spread = abs(slope) * np.sqrt(weights @ (variances + (means - mean) ** 2))
        seen = np.bincount(choices[:, i], minlength=k)
        result += [
            ChoiceEffect(decision.name, option, m, s, n)
            for option, m, s, n in zip(
                decision.options,
                (slope * mean).tolist(),
                spread.tolist(),
                seen.tolist(),
                strict=True,
            )
        ]
    return tuple(result)


def _company(similar: Sequence[Matrix], axis: int | None) -> Matrix:
    """Return a_j and b_j of all decisions, (2, d, n); averaged over x, too, if axis is None."""
    a = [s.mean(axis=axis) for s in similar]
    return np.array([a, [(CORRELATION**-s).mean(axis=axis) for s in similar]])


def _with_option(prior: PriorVariances, similar: Matrix, others: Matrix) -> Matrix:
    """Return h_i for each option of decision i, (K_i, n).

    Args:
        prior: The prior variances.
        similar: S_i[o, x_i], (K_i, n).
        others: a_j and b_j of the other decisions, (2, d - 1, n).
    """
    d = others.shape[1] + 1
    pairs = 2.0 * prior.pair / max(1, d * (d - 1)) * others[0].sum(axis=0)
    result = similar * (prior.single / d + pairs)
    return np.asarray(
        result + prior.interaction * CORRELATION ** (d - similar) * others[1].prod(axis=0)
    )
