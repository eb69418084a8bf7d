"""choice_effects(): what each option adds to the score, and how sure that is.

The fit is the first one of DDPNAS's search (:mod:`ddpnas.strategies._posterior`), in which only
equal options are alike, averaged over its priors by their evidence. The effect of an option is the
score with it, averaged over all combinations of the other decisions (each equally likely, rules not
considered), minus the same average over all options of its decision. It is linear in the fitted
function, so that its posterior is exact. For a prior covariance c(m) by the number m of equal
decisions, let g be the mean of c(M + 1) - c(M), M the number of the other decisions in which two
uniformly drawn architectures agree. The effect of option o in decision i then has the covariance
g ([x_i = o] - 1/K_i) with an architecture x, and the prior variance g (1 - 1/K_i). Effects of
names add w0 / d times the count of o's name in x, less the mean over the options of decision i,
and w0 / d (1 - 1/K_i).

The fit sees normal scores of ranks. An effect is brought back to the unit of the scores by the
slope of the regression of the scores on their normal scores, which for a normal variable is the
mean derivative of the score by its normal score (Stein's lemma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ddpnas.errors import DataError
from ddpnas.space.decisions import DecisionSpace

__all__ = ["ChoiceEffect", "choice_effects"]


@dataclass(frozen=True)
class ChoiceEffect:
    """The effect of one option on the score.

    Attributes:
        decision: its name.
        option: its name.
        mean: posterior mean, in units of the score; the means of a decision sum to 0.
        spread: posterior standard deviation, in units of the score.
        count: how many of the architectures have the option.
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
        space: the decisions.
        architectures: what was scored, in the order of scoring (a learning curve is removed).
        scores: one each, higher is better. What is not finite counts as the worst score.

    Raises:
        DataError: not one score an architecture, or fewer than two different finite scores.
    """
    from ddpnas.strategies._posterior import Likeness, detrend, fits  # brings SciPy

    if len(architectures) != len(scores):
        raise DataError(f"{len(architectures)} architectures have {len(scores)} scores")
    given = np.array(scores, dtype=np.float64)
    finite = np.isfinite(given)
    if len(np.unique(given[finite])) < 2:
        raise DataError("effects of choices need at least two different scores")
    given[~finite] = given[finite].min()
    choices = np.array([space.encode(a) for a in architectures], dtype=np.int64)
    likeness = Likeness.of(space.decisions)
    z, _ = detrend(likeness, choices, given)
    slope = float(np.cov(given[finite], z[finite])[0, 1] / z[finite].var(ddof=1))
    posteriors, weights = fits(likeness, choices, z)
    counts = likeness.counts(choices)
    stretch = len(z) / max(1, len(z) - 2)  # variance of a t distribution: the scale is estimated
    sizes, d = [len(decision.options) for decision in space.decisions], len(space.decisions)
    result = []
    for i, (decision, k) in enumerate(zip(space.decisions, sizes, strict=True)):
        own = (choices[:, i] == np.arange(k)[:, None]) - 1.0 / k
        named = counts[:, likeness.labels[i]].T
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
    """Return g1 - g0: what one more equal decision adds to the mean covariance."""
    agreeing = np.ones(1)  # distribution of M, the number of other decisions that agree
    for i, k in enumerate(sizes):
        if i != decision:
            agreeing = np.convolve(agreeing, [1.0 - 1.0 / k, 1.0 / k])
    return float(agreeing @ np.diff(by_count))
