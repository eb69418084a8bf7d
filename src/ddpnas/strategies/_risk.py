"""The risk of pruning: the probability that the best surviving architecture has an option.

The score of every architecture is uncertain: by its effects, by which prior they have, by the
scale of the fit, and by what no effect explains. Draws of all of it, over the whole surviving
space, say how often the best architecture has an option:

* the prior of a draw is chosen by its probability given the scores (model averaging);
* the scale of a draw is n / chi-squared_n times that of the fit, as for normal noise of unknown
  variance, whose posterior is a t distribution;
* what is left over of each architecture's score, the ``noise`` of the prior, is drawn anew: the
  fit cannot tell noise of the score from interactions that it lacks.

Of the surviving space, only those architectures are drawn that can be the best: for each option
those of the largest mean + 2.5 spreads. Small spaces are enumerated to find them; of large ones
4,096 random architectures are taken, and the neighbours of the best of these.

The shares were compared with how often it happens, on tables (``records/strategies.md``): from 0.01
upwards they are right on average; below, too rare to judge, they may be too small. As far as they
are right, the probability that anything of the best architecture is pruned is at most the sum of
the risks taken, however they depend on each other (the union bound).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf

from ddpnas.strategies._posterior import Comparison, Effects

__all__ = ["best_option_shares", "variants"]

Matrix = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ENUMERATED = 16_384  # architectures of a surviving space that is enumerated
_SAMPLED = 4_096  # architectures drawn from a larger one
_BEST = 64  # whose neighbours are added, in each of three rounds
_CONTENDERS = 900  # architectures drawn, in equal parts for each option
_REACH = 2.5  # spreads
_DRAWS = 1_000


def best_option_shares(
    posteriors: Sequence[Effects],
    weights: Matrix,
    alive: Sequence[Mask],
    rng: np.random.Generator,
    holds: Callable[[Choices], Mask] | None = None,
) -> list[Matrix]:
    """Return for each option the probability that the best surviving architecture has it.

    The rows sum to 1 and have no zeros: one draw is added to each survivor's count. What is
    pruned has 0.

    Args:
        posteriors: of the same scores, under the priors that matter.
        weights: their probabilities.
        alive: the survivors of each decision.
        rng: randomness.
        holds: which architectures the rules allow; None: all.
    """
    pool = _contenders(posteriors[int(weights.argmax())], alive, rng, holds)
    counts = [mask.astype(np.float64) for mask in alive]
    likeness, observed = posteriors[0].likeness, posteriors[0].choices
    own, seen = likeness.compare(pool, pool), likeness.compare(pool, observed)
    for effects, draws in zip(posteriors, rng.multinomial(_DRAWS, weights), strict=True):
        if draws:
            best = pool[_draw(effects, own, seen, int(draws), rng).argmax(axis=0)]
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
    effects: Effects, own: Comparison, seen: Comparison, draws: int, rng: np.random.Generator
) -> Matrix:
    """Return posterior draws of the scores of a pool, architectures x draws.

    Args:
        effects: under one prior.
        own: the pool compared with itself.
        seen: the pool compared with what was observed.
        draws: how many.
        rng: randomness.
    """
    mean, covariance = effects.mean_and_covariance(own, seen)
    covariance.flat[:: len(mean) + 1] += effects.scale * (effects.prior.noise + 1e-6)
    factor, _ = dpotrf(covariance, lower=1, clean=1, overwrite_a=1)
    n = len(effects.choices)
    stretch = np.sqrt(n / rng.chisquare(n, size=draws))
    deviation = factor @ rng.standard_normal((len(mean), draws))
    return np.asarray(mean[:, None] + deviation * stretch)


def _contenders(
    effects: Effects,
    alive: Sequence[Mask],
    rng: np.random.Generator,
    holds: Callable[[Choices], Mask] | None,
) -> Choices:
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
            [mask[column] for mask, column in zip(alive, effects.choices.T, strict=True)], axis=0
        )
        pool = legal(_distinct(np.concatenate([pool, effects.choices[seen]])))
        for _ in range(3):
            top = pool[np.argsort(-_reach(effects, pool), kind="stable")[:_BEST]]
            pool = _distinct(np.concatenate([pool, legal(variants(top, alive))]))
    if not len(pool):  # the rules allow none of them: what was scored is all there is
        pool = _distinct(effects.choices)
    reach = _reach(effects, pool)
    chosen = np.zeros(len(pool), dtype=np.bool_)
    each = max(2, _CONTENDERS // sum(sizes))
    for i, options in enumerate(survivors):
        for option in options:
            having = np.flatnonzero(pool[:, i] == option)
            if len(having) > each:
                having = having[np.argpartition(-reach[having], each)[:each]]
            chosen[having] = True
    return pool[chosen]


def _distinct(pool: Choices) -> Choices:
    """Return the architectures in order, each once."""
    pool = pool[np.lexsort(pool.T[::-1])]
    new = np.ones(len(pool), dtype=np.bool_)
    new[1:] = (pool[1:] != pool[:-1]).any(axis=1)
    return pool[new]


def _reach(effects: Effects, pool: Choices) -> Matrix:
    mean, spread = effects.mean_and_spread(pool)
    return mean + _REACH * spread
