"""What the strategy `ddpnas` finds where widths are ordered, for several lengths of the kernel.

Objectives are synthetic: a sum of effects of six widths and of two unordered operations, scaled to
unit variance over the space, plus normal noise of ``--noise``. What a width adds depends on the
family. One set of families is for choosing the length, another for confirming it.

* choose: ``monotone`` (a power of the width), ``concave`` (saturating), ``peaked`` (best inside);
* confirm: ``smallest`` (the narrowest stage limits all), ``steps`` (two plateaus), ``wavy`` (a
  random smooth curve with pairs of widths that interact), ``unordered`` (neighbors differ as any).

For each length, with ``none`` for decisions without values: the regret of the scored architecture
that the search recommends, in standard deviations of the objective, and the rank correlation
(Spearman) of the fit over unseen architectures after as many random scores.

    python -m benchmarks.ordered_fit --families choose --seeds 100 --out ordered.json
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from benchmarks.record import write_record
from ddpnas import create_strategy
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies import _kernel
from ddpnas.strategies._fit import ScoreFit

Vector = npt.NDArray[np.float64]

FAMILIES = {
    "choose": ("monotone", "concave", "peaked"),
    "confirm": ("smallest", "steps", "wavy", "unordered"),
}
RANGES = (
    (8, 12, 16, 24, 32, 48),
    (8, 16, 24, 32),
    (16, 24, 32, 48, 64),
    (32, 40, 48, 56, 64),
    (64, 96, 128, 192, 256),
    (96, 128, 160),
)
OPERATIONS = ("conv3", "conv5", "skip")
UNSEEN = 2_000  # architectures over which ranks are compared


def make_space(ordered: bool) -> DecisionSpace:
    """Return six widths and two operations; without their values, widths are unordered."""
    widths = [
        Decision(f"width{i}", tuple(map(str, v)), values=v if ordered else None)
        for i, v in enumerate(RANGES)
    ]
    return DecisionSpace([*widths, *(Decision(f"operation{i}", OPERATIONS) for i in range(2))])


@functools.cache
def everything() -> npt.NDArray[np.int64]:
    """Return all architectures, as option indices."""
    sizes = [*map(len, RANGES), *[len(OPERATIONS)] * 2]
    return np.stack([axis.ravel() for axis in np.indices(tuple(sizes))], axis=1)


@functools.lru_cache(maxsize=256)
def objective(family: str, seed: int) -> Vector:
    """Return the objective of all architectures, of mean 0 and variance 1."""
    rng = np.random.default_rng([seed, sum(map(ord, family))])
    *columns, first, second = everything().T
    places = [np.log2(v) - np.log2(v[0]) for v in RANGES]
    weights = rng.uniform(0.2, 1.0, size=len(RANGES))
    if family == "smallest":
        scaled = [w * p[c] / p[-1] for w, p, c in zip(weights, places, columns, strict=True)]
        total = np.min(scaled, axis=0) * 2.0 + np.sum(scaled, axis=0) / 3.0
    else:
        effects = [w * _effect(family, p, rng) for w, p in zip(weights, places, strict=True)]
        total = np.sum([e[c] for e, c in zip(effects, columns, strict=True)], axis=0)
        if family == "wavy":
            for i in range(1, len(RANGES)):
                a, b = places[i - 1][columns[i - 1]], places[i][columns[i]]
                total += 0.5 * rng.normal() * np.cos(rng.uniform(0.5, 1.5) * (a - b))
    spread = total.std() / 2.0
    for column in (first, second):
        total = total + spread * rng.normal(size=len(OPERATIONS))[column]
    return np.asarray((total - total.mean()) / total.std())


def _effect(family: str, place: Vector, rng: np.random.Generator) -> Vector:
    """Return what the widths of a decision add; ``place`` is their log2 above the smallest."""
    if family == "monotone":
        return np.asarray(2.0 ** (rng.uniform(0.2, 1.0) * place))
    if family == "concave":
        return np.asarray(1.0 - np.exp(-rng.uniform(0.7, 2.5) * place))
    if family == "peaked":
        return np.asarray(-((place - rng.uniform(0.0, place[-1])) ** 2))
    if family == "steps":
        return np.asarray(place >= rng.uniform(0.0, place[-1]), dtype=np.float64)
    if family == "wavy":
        return np.asarray(np.sin(rng.uniform(1.0, 3.0) * place + rng.uniform(0.0, 6.3)))
    return rng.normal(size=len(place))


def search_regret(space: DecisionSpace, u: Vector, seed: int, scores: int, noise: float) -> float:
    """Return by how much what a search recommends is worse than the best."""
    rng = np.random.default_rng(seed)
    sizes = tuple(len(d.options) for d in space.decisions)
    strategy = create_strategy("ddpnas", space, seed=seed, evaluations=scores)
    while not strategy.done:
        batch = strategy.ask()
        true = [u[np.ravel_multi_index(space.encode(a), sizes)] for a in batch]
        strategy.tell(batch, (true + noise * rng.normal(size=len(batch))).tolist())
    return float(u.max() - u[np.ravel_multi_index(space.encode(strategy.architecture), sizes)])


def fit_ranks(space: DecisionSpace, u: Vector, seed: int, scores: int, noise: float) -> float:
    """Return the rank correlation of the fit of random scores with the truth, unseen."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(u), size=scores + UNSEEN, replace=False)
    seen, unseen = rows[:scores], rows[scores:]
    fit = ScoreFit(space)
    fit.observe(everything()[seen], u[seen] + noise * rng.normal(size=scores))
    fit.refit()
    return float(spearmanr(fit.posterior.mean(everything()[unseen]), u[unseen]).statistic)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", choices=FAMILIES, default="choose")
    parser.add_argument("--lengths", nargs="*", default=["none", "0.5", "1", "2", "4", "8"])
    parser.add_argument("--scores", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--fit-only", action="store_true", help="no searches")
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for family in FAMILIES[options.families]:
        for length in options.lengths:
            space = make_space(ordered=length != "none")
            if length != "none":
                _kernel._LENGTH = float(length)
            started = time.process_time()
            found: dict[str, list[float]] = {"regret": [], "rank_correlation": []}
            for seed in range(options.first, options.first + options.seeds):
                u = objective(family, seed)
                case = (space, u, seed, options.scores, options.noise)
                found["rank_correlation"].append(fit_ranks(*case))
                if not options.fit_only:
                    found["regret"].append(search_regret(*case))
            row: dict[str, Any] = {"family": family, "length": length}
            for name, values in found.items():
                if values:
                    row[name] = float(np.mean(values))
                    row[f"{name}_error"] = float(np.std(values, ddof=1) / len(values) ** 0.5)
            rows.append(row)
            print(row, f"({time.process_time() - started:.0f} s)", flush=True)
            if options.out:
                about = {k: v for k, v in vars(options).items() if k != "out"}
                write_record(options.out, {**about, "rows": rows})


if __name__ == "__main__":
    main()
