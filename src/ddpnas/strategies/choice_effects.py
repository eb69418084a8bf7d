"""choice_effects(): what each option adds to the score, and how sure that is.

The fit is the first one of DDPNAS's search (:mod:`ddpnas.strategies._posterior`), averaged over its
priors by their evidence.

The effect of an option is the score with it, averaged over all combinations of the other decisions
(each equally likely, rules not considered), minus the same average over all options of its
decision. It is linear in the fitted function, so its posterior is exact.

Notation, besides that of the posterior
    k(m)   prior covariance of two architectures with m equal decisions, without names
    m'     number of the other decisions in which two uniformly drawn architectures agree
    g_i    mean over m' of k(m' + 1) - k(m')
    c_o(x) how often x chooses the name of option o, less the mean over the options of decision i

    covariance with architecture x   g_i ([x_i = o] - 1 / K_i) + w0 c_o(x) / d
    prior variance                   (g_i + w0 / d) (1 - 1 / K_i)

The fit sees normal scores of ranks. The slope of the regression of the scores on their normal
scores brings an effect back to the unit of the scores. For a normal variable it is the mean
derivative of the score by its normal score (Stein's lemma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ddpnas.errors import DataError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies._posterior import (
    ChoiceKernel,
    Observations,
    fit_all_priors,
    normal_scores,
)

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
    sizes, d = [len(decision.options) for decision in space.decisions], len(space.decisions)
    result = []
    for i, (decision, k) in enumerate(zip(space.decisions, sizes, strict=True)):
        own = (choices[:, i] == np.arange(k)[:, None]) - 1.0 / k
        named = counts[:, kernel.labels[i]].T
        named = (named - named.mean(axis=0)) / d
        means, variances = np.zeros((len(posteriors), k)), np.zeros((len(posteriors), k))
        for j, posterior in enumerate(posteriors):
            prior = posterior.prior
            gain = _gain(prior.by_count(d), sizes, i)
            cross = gain * own + prior.shared * named
            before = (gain + prior.shared / d) * (1.0 - 1.0 / k)
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


def _gain(by_count: npt.NDArray[np.float64], sizes: Sequence[int], decision: int) -> float:
    """Return g_i: what one more equal decision adds to the mean covariance."""
    agreeing = np.ones(1)  # distribution of m', the number of other decisions that agree
    for i, k in enumerate(sizes):
        if i != decision:
            agreeing = np.convolve(agreeing, [1.0 - 1.0 / k, 1.0 / k])
    return float(agreeing @ np.diff(by_count))
