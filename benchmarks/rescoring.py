"""What scoring again is worth: the likeliest network within limits, or the best of the k likeliest.

    python -m benchmarks.rescoring --seeds 20 --out records/generate/rescoring.json

searches NAS-Bench-201 and NAS-Bench-Macro on the schedule, by the score in the table, and generates
within limits on multiply-adds. Reported is the test accuracy after the longest training.

    python -m benchmarks.rescoring --runs runs/cifar --out records/generate/rescoring-cifar.json

takes finished searches of the NAS-Bench-201 cell with shared weights on CIFAR-10 instead, and
scores again with these.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ddpnas
from benchmarks.record import write_record
from ddpnas import Architecture, CostTable, JointDistribution
from ddpnas.benchmarks import Table, load_table
from ddpnas.runs import Run

SHARES = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0)  # of random architectures that a limit lets through
LISTS = (1, 10, 50, 200)  # how many of the likeliest are scored again

Score = Callable[[Sequence[Architecture]], Sequence[float]]


def by_table(table: Table, seed: int) -> tuple[JointDistribution, Score]:
    """Return what DDPNAS learns from the scores of a table, and these scores."""
    scores = table.valid[table.epochs[0]]

    def score(architectures: Sequence[Architecture]) -> list[float]:
        return [float(scores[table.row(a)]) / 100.0 for a in architectures]

    strategy = ddpnas.create_strategy("ddpnas", table.space, seed=seed)
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, score(batch))
    return strategy.distribution, score


def by_run(run: Path) -> tuple[JointDistribution, Score]:
    """Return what a search with shared weights learned, and the score of these weights."""
    space, data = Run(run).space(), Run(run).data()

    def score(architectures: Sequence[Architecture]) -> list[float]:
        found = ddpnas.rescore(run, architectures, space=space, data=data, device="cpu")
        return [one.score for one in found]

    return ddpnas.SearchResult.load(run).distribution, score


class Truth:
    """The architectures of a table, what they cost, and what they reach."""

    def __init__(self, table: Table, macs: CostTable) -> None:
        self.table, self.macs = table, macs
        sizes = [len(d.options) for d in table.space.decisions]
        choices = np.stack([axis.ravel() for axis in np.indices(sizes)], axis=1).tolist()
        self.all = [table.space.decode(tuple(row)) for row in choices]
        self.costs = np.array([macs.cost(a) for a in self.all])
        self.reached = np.array([self.test(a) for a in self.all])

    def test(self, architecture: Architecture) -> float:
        """Return the test accuracy after the longest training, in percent."""
        return float(self.table.test[self.table.epochs[-1]][self.table.row(architecture)])

    def rows(self, distribution: JointDistribution, score: Score) -> list[dict[str, float]]:
        """Return one row a limit: the best within it, the mean, and what is chosen."""
        rows = []
        for share in SHARES:
            limit = float(np.quantile(self.costs, share))
            within = self.reached[self.costs <= limit]
            likely = ddpnas.top_k(
                distribution,
                self.table.space,
                max(LISTS),
                {"macs": limit},
                {"macs": self.macs},
            )
            candidates = [one.architecture for one in likely]
            scores = np.array(score(candidates))
            row = {"share": share, "limit": limit, "best": within.max(), "random": within.mean()}
            for k in LISTS:
                row[f"of {k}"] = self.test(candidates[int(scores[:k].argmax())])
            rows.append({name: float(value) for name, value in row.items()})
        return rows


def show(name: str, searches: Sequence[Sequence[dict[str, float]]]) -> None:
    """Print the means over searches, with standard errors, a limit a line."""
    names = ["random", *(f"of {k}" for k in LISTS), "best"]
    print(f"{name}, {len(searches)} searches: share within the limit, {', '.join(names)}")
    for rows in zip(*searches, strict=True):
        shown = []
        for column in names:
            values = np.array([row[column] for row in rows])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
            shown.append(f"{values.mean():.2f}" + (f" +- {error:.2f}" if error else ""))
        print(f"  {rows[0]['share']:.2f}: {', '.join(shown)}", flush=True)


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--runs", type=Path, nargs="*", help="folders of finished searches")
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    if options.runs:
        for run in options.runs:
            truth = Truth(load_table("nasbench201"), ddpnas.count_costs(Run(run).space())["macs"])
            results[run.name] = [truth.rows(*by_run(run))]
            show(run.name, results[run.name])
    else:
        for name in ("nasbench201", "nasbench-macro"):
            truth = Truth(load_table(name), ddpnas.count_costs(ddpnas.create_space(name))["macs"])
            results[name] = [truth.rows(*by_table(truth.table, s)) for s in range(options.seeds)]
            show(name, results[name])
    if options.out:
        write_record(options.out, {"results": results})


if __name__ == "__main__":
    main()
