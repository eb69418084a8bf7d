"""What variants of a strategy find: on NAS-Bench-Macro, on synthetic tables, and with a drift.

Constants are chosen by this, so that NAS-Bench-201 stays for reporting.

* NAS-Bench-Macro: accuracy (mean of three trainings) of the architecture chosen by its score;
* synthetic tables: regret, the best true accuracy less that of the architecture chosen by score;
* drift: the same regret with a learning curve of ``--drift`` points added to the scores, of the
  architecture that the strategy recommends (the best score is mostly the latest).

Mean and standard error over searches, all in percentage points. With ``--distinct-names`` no two
decisions have options of the same name, which shows what common names are worth.

    python -m benchmarks.strategy_choice --strategies ddpnas,ddpnas:explore=0.33,random
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write_record
from ddpnas.benchmarks import Table, load_table
from ddpnas.benchmarks.experiment import Budget, Contender, run_trial
from ddpnas.benchmarks.synthetic import EXAMPLES, make_table
from ddpnas.space.decisions import Decision, DecisionSpace

Named = Callable[[Table], Table]


def as_they_are(table: Table) -> Table:
    """Return the table."""
    return table


def distinct(table: Table) -> Table:
    """Return the table with option names that occur in one decision only."""
    decisions = [
        Decision(d.name, tuple(f"{d.name} {o}" for o in d.options)) for d in table.space.decisions
    ]
    return dataclasses.replace(table, space=DecisionSpace(decisions))


@functools.cache
def synthetic(example: str, seed: int) -> Table:
    """Return a table of that make-up."""
    return make_table(seed, **EXAMPLES[example])


def on_macro(named: Named) -> Callable[[Contender, int, int], list[float]]:
    """Return the function that gives the accuracy found by each search."""

    def accuracies(contender: Contender, searches: int, evaluations: int) -> list[float]:
        table, budget = named(load_table("nasbench-macro")), Budget(evaluations, "evaluations")
        return [run_trial(table, contender, seed, budget).test for seed in range(searches)]

    return accuracies


def on_synthetic(example: str, named: Named) -> Callable[[Contender, int, int], list[float]]:
    """Return the function that gives the regret of each search on tables of that make-up."""

    def regrets(contender: Contender, searches: int, evaluations: int) -> list[float]:
        budget, found = Budget(evaluations, "evaluations"), []
        for seed in range(searches):
            table = named(synthetic(example, seed))
            best = float(table.test[1].max())
            found.append(best - run_trial(table, contender, seed, budget).test)
        return found

    return regrets


def with_drift(
    example: str, named: Named, drift: float
) -> Callable[[Contender, int, int], list[float]]:
    """Return the same with a learning curve, for the architecture that is recommended."""

    def regrets(contender: Contender, searches: int, evaluations: int) -> list[float]:
        found = []
        for seed in range(searches):
            table = named(synthetic(example, seed))
            best = float(table.test[1].max())
            found.append(best - _recommended(table, contender, seed, evaluations, drift))
        return found

    return regrets


def _recommended(
    table: Table, contender: Contender, seed: int, evaluations: int, drift: float
) -> float:
    options = {"evaluations": evaluations, **contender.options}
    strategy = contender.strategy.create(table.space, seed, **options)
    told = 0
    while not strategy.done:
        scores = []
        for architecture in strategy.ask():
            curve = drift * np.log1p(told) / np.log1p(evaluations)
            scores.append(float(table.valid[1][table.row(architecture)] - drift + curve) / 100.0)
            told += 1
        strategy.tell(strategy.ask(), scores)
    return float(table.test[1][table.row(strategy.architecture)])


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default="ddpnas,local-search,random")
    parser.add_argument("--evaluations", type=int, nargs="*", default=[30, 60])
    parser.add_argument("--searches", type=int, default=30, help="on each table")
    parser.add_argument("--macro-searches", type=int, default=100)
    parser.add_argument("--drift", type=float, default=10.0, help="points, on the table 'pairs'")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--distinct-names", action="store_true")
    options = parser.parse_args()
    named = distinct if options.distinct_names else as_they_are
    cases: dict[str, tuple[Callable[[Contender, int, int], list[float]], int]] = {
        "nasbench-macro": (on_macro(named), options.macro_searches),
        **{name: (on_synthetic(name, named), options.searches) for name in EXAMPLES},
        "pairs, drift": (with_drift("pairs", named, options.drift), options.searches),
    }
    rows: list[dict[str, Any]] = []
    for text in options.strategies.split(","):
        contender = Contender.parse(text)
        for evaluations in options.evaluations:
            started, regrets = time.process_time(), []
            for case, (measure, searches) in cases.items():
                values = np.array(measure(contender, searches, evaluations))
                error = float(values.std(ddof=1) / np.sqrt(searches))
                rows.append(
                    {
                        "strategy": text,
                        "evaluations": evaluations,
                        "case": case,
                        "mean": float(values.mean()),
                        "standard_error": error,
                    }
                )
                if case in EXAMPLES:
                    regrets.append(values)
                else:
                    print(f"{text} {evaluations} {case}: {values.mean():.3f} +- {error:.3f}")
            error = np.sqrt(np.mean([r.var(ddof=1) for r in regrets]) / np.size(regrets))
            print(
                f"{text} {evaluations} synthetic regret: {np.mean(regrets):.4f} +- {error:.4f}"
                f" ({time.process_time() - started:.0f} s)",
                flush=True,
            )
    if options.out:
        result = {
            "searches": options.searches,
            "macro_searches": options.macro_searches,
            "drift": options.drift,
            "distinct_names": options.distinct_names,
            "rows": rows,
        }
        write_record(options.out, result)


if __name__ == "__main__":
    main()
