"""Do times add up? A table's sums against the times of whole networks, by leaving one out.

The sum of a table's terms differs from the time of a whole network: units that are timed alone find
their data in the cache, and a network has an overhead. So two numbers are fitted to n whole
networks by least squares of relative errors,

    measured = overhead + scale * sum,

and the error is that of predicting each network by a fit to the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ddpnas.errors import OptionError

__all__ = ["LEAST_ARCHITECTURES", "Additivity", "check_additivity"]

LEAST_ARCHITECTURES = 4  # a line through the three others, with an error

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Additivity:
    """How a table's sums compare with whole networks.

    Attributes:
        architectures: Number n of whole networks.
        overhead_ms, scale: The fit to all of them.
        kendall_tau: Rank correlation of left-out predictions with measurements; NaN where all
            predictions are equal.
        kendall_tau_interval: Its central 95 % under resampling of the networks.
        mape_percent: Mean absolute percentage error of left-out predictions.
        mape_sd_percent: Standard deviation of that error over the networks.
        p95_percent: 95th percentile of that error, the margin that limits keep by default.
        worst_percent: Largest error.
        unfitted_mape_percent: Mean absolute percentage error of the plain sums.
        predicted_ms: Left-out predictions, in the order of the networks.
    """

    architectures: int
    overhead_ms: float
    scale: float
    kendall_tau: float
    kendall_tau_interval: tuple[float, float]
    mape_percent: float
    mape_sd_percent: float
    p95_percent: float
    worst_percent: float
    unfitted_mape_percent: float
    predicted_ms: tuple[float, ...]


def check_additivity(sums: Sequence[float], measured: Sequence[float]) -> Additivity:
    """Return the fit and its error.

    Args:
        sums: Sum of a table's terms for each network, in milliseconds.
        measured: Time of each whole network, in milliseconds.

    Raises:
        OptionError: There are fewer than four networks.

    Example:
        >>> found = check_additivity([1, 2, 3, 5], [4, 6, 8, 12])
        >>> round(found.overhead_ms, 6), round(found.scale, 6), found.kendall_tau
        (2.0, 2.0, 1.0)
    """
    x, y = np.asarray(sums, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    n = len(x)
    if n < LEAST_ARCHITECTURES:
        raise OptionError(
            f"a check of additivity takes at least {LEAST_ARCHITECTURES} whole networks, not {n}"
        )
    left_out = np.empty(n)
    for i in range(n):
        others = np.arange(n) != i
        overhead, scale = _fit(x[others], y[others])
        left_out[i] = overhead + scale * x[i]
    overhead, scale = _fit(x, y)
    errors = 100 * np.abs(left_out / y - 1)
    return Additivity(
        architectures=n,
        overhead_ms=overhead,
        scale=scale,
        kendall_tau=_tau(left_out, y),
        kendall_tau_interval=_interval(left_out, y),
        mape_percent=float(errors.mean()),
        mape_sd_percent=float(errors.std(ddof=1)),
        p95_percent=float(np.percentile(errors, 95)),
        worst_percent=float(errors.max()),
        unfitted_mape_percent=float(100 * np.abs(x / y - 1).mean()),
        predicted_ms=tuple(left_out.tolist()),
    )


def _fit(x: Vector, y: Vector) -> tuple[float, float]:
    """Return (overhead, scale) of the line of least relative errors; the scale is above 0.

    The line goes through 0 if it would fall otherwise, or if all sums are equal, so that it has no
    slope. It has scale 1 if that line would fall too, or if all sums are 0.
    """
    if np.ptp(x) > 1e-9 * np.abs(x).max():
        rows = np.stack([1 / y, x / y], axis=1)
        overhead, scale = np.linalg.lstsq(rows, np.ones(len(y)), rcond=None)[0]
        if scale > 0:
            return float(overhead), float(scale)
    if (x / y).sum() > 0:
        return 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    return float(((1 - x / y) / y).sum() / (1 / y**2).sum()), 1.0


def _tau(predicted: Vector, measured: Vector) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(predicted, measured).statistic)


def _interval(predicted: Vector, measured: Vector) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(predicted), size=(1000, len(predicted)))
    taus = [_tau(predicted[rows], measured[rows]) for rows in drawn]
    known = [tau for tau in taus if not math.isnan(tau)]
    if not known:
        return (math.nan, math.nan)
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
