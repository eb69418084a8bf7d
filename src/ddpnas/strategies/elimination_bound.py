"""elimination_bound(): how likely pruning by stage means loses a best option, at most.

This bound is ours, not the theorem that the paper announces. ``docs/theory.md`` has its statement
and proof, and says what it does not cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddpnas.errors import OptionError

__all__ = ["elimination_bound", "fair_cycle_scales"]


def elimination_bound(
    gaps: Sequence[Sequence[float]], scales: Sequence[float], cycles_per_stage: int
) -> float:
    """Return a bound of the probability that any decision loses its best option.

    The sum over decisions i and over k = 2, ..., K_i of exp(-T gap_(k)^2 / (4 s_i^2)), with
    gap_(k) the k-th smallest gap of the decision, and not more than 1.

    Args:
        gaps: For each option of each decision, the mean score of the best option minus that of
            this one. The best option has 0.
        scales: For each decision s_i, the sub-Gaussian scale of the score of an option in one
            cycle. If the scores of two options depend on each other, sqrt(2) s_i is the scale of
            their difference.
        cycles_per_stage: T.

    Raises:
        OptionError: Gaps have no 0 or a negative one, or another argument is out of range.

    Example:
        >>> round(elimination_bound([[0.0, 1.0]], scales=[1.0], cycles_per_stage=3), 3)
        0.472
    """
    if cycles_per_stage < 1 or len(gaps) != len(scales) or any(s < 0 for s in scales):
        raise OptionError(
            "cycles_per_stage must be at least 1, with one scale of 0 or more for each decision"
        )
    total = 0.0
    for row, scale in zip(gaps, scales, strict=True):
        if min(row, default=1.0) != 0.0:
            raise OptionError("the gap of a best option is 0, and no other is smaller")
        for gap in sorted(row)[1:]:
            if scale == 0.0:
                total += gap == 0.0
            else:
                total += math.exp(-cycles_per_stage * gap**2 / (4.0 * scale**2))
    return min(1.0, total)


def fair_cycle_scales(effects: Sequence[Sequence[float]], noise: float = 0.0) -> list[float]:
    """Return the scale of each decision for fair cycles and a score that is a sum of effects.

    sqrt(sum over the other decisions j of r_j^2 / 2 + noise^2), with r_j the largest minus the
    smallest effect of decision j.

    Args:
        effects: For each decision, the effects of its options.
        noise: Sub-Gaussian scale of independent noise on each score.

    Example:
        >>> fair_cycle_scales([[0.0, 2.0], [1.0, 1.0], [0.0, 4.0]], noise=3.0)[2]
        3.3166247903554
    """
    squares = [(max(row) - min(row)) ** 2 / 2.0 for row in effects]
    return [math.sqrt(sum(squares) - own + noise**2) for own in squares]
