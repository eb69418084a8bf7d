"""Whether the stated risk of pruning is honest: what was stated against how often it happened.

The event: the best architecture, by its true value, of the space that survives so far has the
option. The strategy states its probability for every surviving option; here it is compared with
the tables, which know the best architecture. Equally good architectures count in equal parts.

* all options: at several times of searches that prune nothing, every option of every decision;
* pruned options: of searches with ``max_risk``, those that were pruned, by the risk at that time.

The true value of NAS-Bench-Macro is the mean of three trainings, of which the search sees the
first; that of a synthetic table is free of the noise of the score; NAS-Bench-201 has one score an
architecture after 12 epochs, which is taken for true.

    python -m benchmarks.strategy_risk --searches 40 --out risk.json
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.record import write_record
from ddpnas.benchmarks import Table, load_table
from ddpnas.benchmarks.synthetic import EXAMPLES, make_table
from ddpnas.strategies.ddpnas import DDPNAS

BINS = (0.0, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)
TIMES = (20, 40, 60)


def tables(searches: range) -> Iterator[tuple[str, int, Table, np.ndarray, np.ndarray]]:
    """Yield name, seed, table, score and true value of every search."""
    macro, cell = load_table("nasbench-macro"), load_table("nasbench201")
    for seed in searches:
        yield "nasbench-macro", seed, macro, macro.valid[0], macro.test[0]
        yield "nasbench201", seed, cell, cell.valid[12], cell.valid[12]
        for name, example in EXAMPLES.items():
            table = make_table(seed, **example)
            yield name, seed, table, table.valid[1], table.test[1]


class Truth:
    """The architectures of a table and their true values."""

    def __init__(self, table: Table, true: np.ndarray) -> None:
        sizes = [len(d.options) for d in table.space.decisions]
        codes = table.codes.copy()
        self.columns: list[np.ndarray] = []
        for k in reversed(sizes):
            self.columns.insert(0, codes % k)
            codes //= k
        self.true = true[table.rows].astype(np.float64)

    def shares(self, alive: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """Return for each option its share of the best surviving architectures."""
        left = np.all([m[c] for m, c in zip(alive, self.columns, strict=True)], axis=0)
        best = left & (self.true == self.true[left].max())
        return [
            np.bincount(c[best], minlength=len(m)) / best.sum()
            for m, c in zip(alive, self.columns, strict=True)
        ]


def states(table: Table, score: np.ndarray, strategy: DDPNAS) -> Iterator[int]:
    """Run the search; yield the number of scores after each batch."""
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, [float(score[table.row(a)]) / 100.0 for a in batch])
        yield len(strategy.history)


def unpruned(table: Table, score: np.ndarray, truth: Truth, seed: int) -> list[tuple[float, float]]:
    """Return stated and observed of every option at each of the times."""
    strategy = DDPNAS(table.space, seed, evaluations=max(TIMES))
    pairs: list[tuple[float, float]] = []
    left = list(TIMES)
    for told in states(table, score, strategy):
        if left and told >= left[0]:
            left.pop(0)
            observed = truth.shares(strategy.distribution.alive)
            for stated, happened in zip(strategy.risks(), observed, strict=True):
                pairs += zip(stated.tolist(), happened.tolist(), strict=True)
    return pairs


def pruned(
    table: Table, score: np.ndarray, truth: Truth, seed: int, max_risk: float
) -> tuple[int, float, float]:
    """Return the number of options pruned, the sum of their risks, and how often it happened.

    Happened: the best architecture of the space before a pruning is not in the space after it.
    """
    strategy = DDPNAS(
        table.space, seed, evaluations=max(TIMES), max_risk=max_risk, cycles_per_stage=3
    )
    options, lost = 0, 0.0
    alive = strategy.distribution.alive
    for _ in states(table, score, strategy):
        after = strategy.distribution.alive
        gone = [a & ~b for a, b in zip(alive, after, strict=True)]
        if any(g.any() for g in gone):
            options += int(sum(g.sum() for g in gone))
            lost += sum(float(s[g].sum()) for s, g in zip(truth.shares(alive), gone, strict=True))
        alive = after
    return options, strategy.risk, lost


def reliability(pairs: list[tuple[float, float]]) -> list[dict[str, float]]:
    """Return one row a bin of the stated risk."""
    stated, observed = np.array(pairs).T
    rows = []
    for low, high in itertools.pairwise(BINS):
        here = (stated >= low) & (stated < high if high < 1 else stated <= high)
        if here.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "options": int(here.sum()),
                    "stated": float(stated[here].mean()),
                    "observed": float(observed[here].mean()),
                }
            )
    return rows


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=40, help="on each table")
    parser.add_argument("--first", type=int, default=0, help="seed of the first search")
    parser.add_argument("--max-risk", type=float, nargs="*", default=[0.01, 0.05])
    parser.add_argument("--tables", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    started = time.perf_counter()
    pairs: dict[str, list[tuple[float, float]]] = {}
    taken: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for name, seed, table, score, true in tables(
        range(options.first, options.first + options.searches)
    ):
        if options.tables and name not in options.tables:
            continue
        truth = Truth(table, true)
        pairs.setdefault(name, []).extend(unpruned(table, score, truth, seed))
        for max_risk in options.max_risk:
            mine = taken.setdefault(name, {}).setdefault(str(max_risk), [])
            mine.append(pruned(table, score, truth, seed, max_risk))
    everything = [pair for mine in pairs.values() for pair in mine]
    result = {
        "command": f"python -m benchmarks.strategy_risk --searches {options.searches} "
        f"--first {options.first}",
        "searches": options.searches,
        "times": list(TIMES),
        "all_options": {
            "all tables": reliability(everything),
            **{name: reliability(mine) for name, mine in pairs.items()},
        },
        "pruned_options": {
            name: {
                max_risk: dict(
                    zip(
                        ("options", "stated", "observed"),
                        np.mean(rows, axis=0).tolist(),
                        strict=True,
                    )
                )
                for max_risk, rows in mine.items()
            }
            for name, mine in taken.items()
        },
        "seconds": round(time.perf_counter() - started, 1),
    }
    print("all options, all tables: stated risk, observed frequency")
    for row in result["all_options"]["all tables"]:
        print(
            f"  {row['from']:5.3f} to {row['to']:5.3f}: {row['options']:6d} options, "
            f"stated {row['stated']:.4f}, observed {row['observed']:.4f}"
        )
    print("pruned options, a search: number, sum of stated risks, frequency of a loss")
    for name, mine in result["pruned_options"].items():
        for max_risk, row in mine.items():
            print(
                f"  {name:14} max_risk {max_risk}: {row['options']:5.1f} options, "
                f"stated {row['stated']:.3f}, observed {row['observed']:.3f}"
            )
    if options.out:
        write_record(options.out, result)


if __name__ == "__main__":
    main()
