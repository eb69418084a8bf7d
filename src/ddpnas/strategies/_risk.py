"""The risk of pruning: the probability that the best surviving architecture has an option.

This is Thompson sampling: how often is an architecture with this option the best one of a draw from
the posterior? Three things differ from the textbook form:

* Priors are averaged. The prior of each draw is chosen by its probability given the scores.
* The scale is uncertain. That of a draw is n / chi-squared_n times that of the fit, as for normal
  noise of unknown variance, so the posterior is a t distribution.
* Noise is drawn anew for each architecture. The fit cannot tell noise of the score from
  interactions that it lacks, and the latter decide which architecture is best.

A joint draw of a whole space would be too large. Contenders are drawn only: for each option the
architectures of the largest mean + 2.5 spreads. Small spaces are enumerated to find them. Of large
ones, 4,096 random architectures are taken, and the neighbors of the best of these.

From 0.01 upwards the shares are right on average; below, they may be too small
(``records/strategies.md``). As far as they are right, the probability that anything of the best
architecture is pruned is at most the sum of the risks taken, by the union bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf

from ddpnas.strategies._kernel import KernelTerms
from ddpnas.strategies._posterior import Posterior
from ddpnas.strategies._rows import unique_rows
from ddpnas.strategies.legal import Choices

__all__ = ["best_option_shares", "variants"]

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

DRAWS = 1_000  # a share of 0.01 then has a standard error of 0.003
_ENUMERATED = 16_384  # largest surviving space that is enumerated: NAS-Bench-201 has 15,625
_SAMPLED = 4_096  # architectures drawn from a larger one
_ROUNDS = 3  # in which the neighbors of the best are added to these
_BEST = 64  # of which the neighbors are added in each round
_CONTENDERS = 900  # in all, equal parts for each option; a draw costs their cube
_REACH = 2.5  # spreads above the mean; a normal draw exceeds them in 0.6 % of cases


def best_option_shares(
    posteriors: Sequence[Posterior],
    weights: Matrix,
    alive: Sequence[Mask],
    rng: np.random.Generator,
    holds: Callable[[Choices], Mask] | None = None,
    draws: int = DRAWS,
) -> list[Matrix]:
    """Return for each option the probability that the best surviving architecture has it.

    Each row sums to 1. Counts start at 1 for survivors, so no survivor gets 0, and at 0 for pruned
    options.

    Args:
        posteriors: Fits of the same scores, under the priors that matter.
        weights: Probabilities of these priors.
        alive: Survivors of each decision.
        rng: Source of randomness.
        holds: Returns which architectures the rules allow; None allows all.
        draws: Number of draws from the posterior.
    """
    pool = _contenders(posteriors[int(weights.argmax())], alive, rng, holds)
    counts = [mask.astype(np.float64) for mask in alive]
    kernel, observed = posteriors[0].kernel, posteriors[0].choices
    with_each_other, with_observed = kernel.compare(pool, pool), kernel.compare(pool, observed)
    for posterior, times in zip(posteriors, rng.multinomial(draws, weights), strict=True):
        if times:
            drawn = _draw(posterior, with_each_other, with_observed, int(times), rng)
            best = pool[drawn.argmax(axis=0)]
            for i, row in enumerate(counts):
                row += np.bincount(best[:, i], minlength=len(row))
    return [row / row.sum() for row in counts]


def variants(contexts: Choices, alive: Sequence[Mask]) -> Choices:
    """Return for each survivor, in the order of the space, all contexts with it chosen."""
    options = [np.flatnonzero(mask) for mask in alive]
    decisions = np.repeat(np.arange(len(alive)), [len(o) for o in options])
    result = np.repeat(contexts[None], len(decisions), axis=0)
    result[np.arange(len(decisions)), :, decisions] = np.concatenate(options)[:, None]
    return result.reshape(-1, contexts.shape[1])


def _draw(
    posterior: Posterior,
    with_each_other: KernelTerms,
    with_observed: KernelTerms,
    draws: int,
    rng: np.random.Generator,
) -> Matrix:
    """Return posterior draws of the scores of a pool, architectures x draws."""
    mean, covariance = posterior.mean_and_covariance(with_each_other, with_observed)
    covariance.flat[:: len(mean) + 1] += posterior.scale * (posterior.prior.noise + 1e-6)
    factor, _ = dpotrf(covariance, lower=1, clean=1, overwrite_a=1)
    n = len(posterior.choices)
    stretch = np.sqrt(n / rng.chisquare(n, size=draws))
    deviation = factor @ rng.standard_normal((len(mean), draws))
    return np.asarray(mean[:, None] + deviation * stretch)


def _contenders(
    posterior: Posterior,
    alive: Sequence[Mask],
    rng: np.random.Generator,
    holds: Callable[[Choices], Mask] | None,
) -> Choices:
    """Return, for each surviving option, the architectures that may be the best of a draw."""
    pool = _surviving(posterior, alive, rng, holds)
    reach = _reach(posterior, pool)
    chosen = np.zeros(len(pool), dtype=np.bool_)
    each = max(2, _CONTENDERS // sum(int(mask.sum()) for mask in alive))
    for i, mask in enumerate(alive):
        for option in np.flatnonzero(mask):
            having = np.flatnonzero(pool[:, i] == option)
            if len(having) > each:
                having = having[np.argpartition(-reach[having], each)[:each]]
            chosen[having] = True
    return pool[chosen]


def _surviving(
    posterior: Posterior,
    alive: Sequence[Mask],
    rng: np.random.Generator,
    holds: Callable[[Choices], Mask] | None,
) -> Choices:
    """Return all legal architectures of survivors, or of a large space the best of a sample."""
    survivors = [np.flatnonzero(mask) for mask in alive]
    sizes = [len(options) for options in survivors]

    def legal(pool: Choices) -> Choices:
        return pool if holds is None else pool[holds(pool)]

    if np.prod(sizes, dtype=np.float64) <= _ENUMERATED:
        at = np.stack([axis.ravel() for axis in np.indices(tuple(sizes))], axis=1)
        pool = legal(np.stack([o[c] for o, c in zip(survivors, at.T, strict=True)], axis=1))
    else:
        pool = np.stack(
            [
                options[rng.integers(k, size=_SAMPLED)]
                for options, k in zip(survivors, sizes, strict=True)
            ],
            axis=1,
        )
        seen = np.all(
            [mask[column] for mask, column in zip(alive, posterior.choices.T, strict=True)], axis=0
        )
        pool = legal(unique_rows(np.concatenate([pool, posterior.choices[seen]])))
        for _ in range(_ROUNDS):
            top = pool[np.argsort(-_reach(posterior, pool), kind="stable")[:_BEST]]
            pool = unique_rows(np.concatenate([pool, legal(variants(top, alive))]))
    # The rules may allow none of these. Then what was scored is all there is.
    return pool if len(pool) else unique_rows(posterior.choices)


def _reach(posterior: Posterior, pool: Choices) -> Matrix:
    mean, spread = posterior.mean_and_spread(pool)
    return mean + _REACH * spread
