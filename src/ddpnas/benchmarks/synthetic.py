"""Synthetic tables: objectives of known make-up, to choose and to check a strategy on.

A latent quality u is a weighted sum of independent parts, each of unit variance over the space:

* ``shared``: effects of options that are the same in every decision;
* ``single``: effects of options, drawn anew for each decision;
* ``pair``: effects of pairs of options;
* ``rugged``: interactions of all orders; its correlation falls by the factor ``decay`` with each
  different choice;
* ``network``: a random network of one hidden layer over the choices, which no model here fits
  exactly.

u is scaled to unit variance; ``broken`` then lowers it by ``broken`` wherever the first option is
chosen in more than half of the decisions. The true accuracy is 90 - 5 exp(-u / 2) percent, which
saturates as accuracies do. The score that a search sees is that of u plus normal noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.benchmarks.table import Table
from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace

__all__ = ["EXAMPLES", "make_table"]

Vector = npt.NDArray[np.float64]
_LARGEST = 100_000  # architectures of a table
_OPTIONS = "abcdefghijklmnopqrstuvwxyz"
_HIDDEN = 24  # units of the random network


def make_table(
    seed: int,
    sizes: Sequence[int],
    *,
    shared: float = 0.0,
    single: float = 0.0,
    pair: float = 0.0,
    rugged: float = 0.0,
    decay: float = 0.6,
    network: float = 0.0,
    broken: float = 0.0,
    noise: float = 0.2,
) -> Table:
    """Return a table of all architectures of a space whose decisions have these sizes.

    Args:
        seed: Seed for everything that is drawn.
        sizes: Number of options of each decision. Their names, ``a``, ``b``, ..., are the same
            everywhere.
        shared: Variance of the part ``shared`` above, relative to the others.
        single: Variance of the part ``single``.
        pair: Variance of the part ``pair``.
        rugged: Variance of the part ``rugged``.
        decay: Correlation in the rugged part that is left after one different choice.
        network: Variance of the part ``network``.
        broken: How much broken architectures lose, in standard deviations of u.
        noise: Standard deviation of the score's noise, in those of u.

    Raises:
        OptionError: No part has a variance, or the space is too large to tabulate.

    Example:
        >>> table = make_table(0, sizes=(3, 4), single=1.0)
        >>> len(table.rows), table.epochs
        (12, (1,))
    """
    size = int(np.prod(sizes, dtype=np.float64))
    if size > _LARGEST:
        raise OptionError(f"the space has {size} architectures; a table holds {_LARGEST} at most")
    if not sizes or not all(2 <= k <= len(_OPTIONS) for k in sizes):
        raise OptionError(f"give each decision of a synthetic table 2 to {len(_OPTIONS)} options")
    if shared + single + pair + rugged + network <= 0:
        raise OptionError("give at least one part of a synthetic table a variance")
    rng = np.random.default_rng(seed)
    architectures = np.stack([axis.ravel() for axis in np.indices(tuple(sizes))], axis=1)
    columns = architectures.T
    common = rng.normal(size=max(sizes))
    own = [rng.normal(size=k) for k in sizes]
    parts = (
        (shared, np.sum([common[c] for c in columns], axis=0)),
        (single, np.sum([row[c] for row, c in zip(own, columns, strict=True)], axis=0)),
        (pair, _pairs(columns, sizes, rng)),
        (rugged, _rugged(sizes, decay, rng)),
        (network, _network(columns, sizes, rng)),
    )
    u = np.sum([np.sqrt(variance) * _unit(part) for variance, part in parts], axis=0)
    u = _unit(u) - broken * ((architectures == 0).mean(axis=1) > 0.5)
    seen = u + noise * rng.normal(size=size)
    space = DecisionSpace([Decision(f"d{i + 1}", tuple(_OPTIONS[:k])) for i, k in enumerate(sizes)])
    rows = np.arange(size)
    nothing = np.zeros(size, dtype=np.int64)
    return Table(
        name="synthetic",
        dataset=str(seed),
        space=space,
        codes=rows,
        rows=rows,
        valid={1: _accuracy(seen)},
        test={1: _accuracy(u)},
        seconds={},
        macs=nothing,
        params=nothing,
    )


def _accuracy(u: Vector) -> npt.NDArray[np.float32]:
    return np.asarray(90.0 - 5.0 * np.exp(-u / 2.0), dtype=np.float32)


def _unit(part: Vector) -> Vector:
    return np.asarray((part - part.mean()) / max(float(part.std()), 1e-12))


def _pairs(
    columns: npt.NDArray[np.int64], sizes: Sequence[int], rng: np.random.Generator
) -> Vector:
    total = np.zeros(len(columns[0]))
    for i in range(len(sizes)):
        for j in range(i):
            total += rng.normal(size=(sizes[i], sizes[j]))[columns[i], columns[j]]
    return total


def _rugged(sizes: Sequence[int], decay: float, rng: np.random.Generator) -> Vector:
    """Return a normal function of covariance decay^(number of different choices)."""
    values = rng.normal(size=tuple(sizes))
    for axis, k in enumerate(sizes):
        factor = np.linalg.cholesky(np.full((k, k), decay) + (1.0 - decay) * np.eye(k))
        values = np.moveaxis(np.tensordot(factor, values, axes=(1, axis)), 0, axis)
    return np.asarray(values).ravel()


def _network(
    columns: npt.NDArray[np.int64], sizes: Sequence[int], rng: np.random.Generator
) -> Vector:
    hidden = sum(
        rng.normal(size=(k, _HIDDEN))[column] for column, k in zip(columns, sizes, strict=True)
    )
    return np.asarray(np.tanh(2.0 * hidden / np.sqrt(len(sizes))) @ rng.normal(size=_HIDDEN))


EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "additive": {"sizes": (5,) * 6, "single": 1.0, "noise": 0.1},
    "alike": {"sizes": (4,) * 7, "shared": 0.6, "single": 0.4},
    "alike-pairs": {"sizes": (3,) * 9, "shared": 0.4, "single": 0.3, "pair": 0.3},
    "alike-broken": {"sizes": (5,) * 6, "shared": 0.5, "single": 0.3, "rugged": 0.2, "broken": 3.0},
    "pairs": {"sizes": (3,) * 8, "single": 0.5, "pair": 0.5},
    "strong-pairs": {"sizes": (6,) * 5, "single": 0.2, "pair": 0.8},
    "ragged": {"sizes": (2, 7, 3, 5, 2, 4, 6), "single": 0.6, "pair": 0.2, "rugged": 0.2},
    "rugged": {"sizes": (5,) * 6, "single": 0.3, "rugged": 0.7, "decay": 0.7},
    "noisy": {"sizes": (4,) * 6, "single": 0.7, "pair": 0.3, "noise": 0.6},
    "network": {"sizes": (3,) * 10, "network": 1.0},
    "network-alike": {"sizes": (4,) * 6, "shared": 0.4, "network": 0.6},
    "broken": {"sizes": (3,) * 9, "single": 0.8, "pair": 0.2, "broken": 4.0, "noise": 0.3},
}
