"""What can a race of `fit` gain? Thousands of races are played with networks trained once.

``measure`` trains each network of a pool twice: as in a race, at a constant learning rate and
scored after 1, 2, 4 and 8 units of time, and alone for a fixed time with the recipe ``quick``. The
pool is what `fit` has in a race: its designs, and draws. ``play`` then plays races of one
length in units with other rungs, each with random candidates of the pool, and says what their
winners reach alone. ``proposals`` scores what enters a race second, drawn from theta, which knows
the scores of what entered first, or from the prior alone.

    python -m benchmarks.worth --set-up ../shared/data
    python -m benchmarks.race measure --setting fashion-2m --out pool.jsonl
    python -m benchmarks.race play --out pool.jsonl
    python -m benchmarks.race proposals --setting fashion-2m --out proposals.jsonl
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

import ddpnas
from benchmarks.worth import ALL, alone, load, right
from ddpnas.data.sieves import SieveConfig
from ddpnas.evaluators.continued import ContinuedConfig, ContinuedEvaluator
from ddpnas.evaluators.proxies import ProxyScores
from ddpnas.fitting.plan import FitPlan
from ddpnas.fitting.planning import make_plan
from ddpnas.fitting.request import FitRequest
from ddpnas.generation.limits import parse_limits
from ddpnas.space import Architecture
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.utils.seeds import seeded

PLANNED = 3000.0  # seconds of a fit in which candidates race on any machine
UNITS = (1, 2, 4, 8)
# Rungs of (networks, units in all). In all, 21 to 28 units; the first is what `fit` does.
RACES = {
    "2: 6, 3, 2": ((6, 2), (3, 4), (2, 8)),
    "2, begun early: 10, 5, 3": ((10, 1), (5, 2), (3, 4)),
    "3: 9, 3": ((9, 2), (3, 4)),
    "4: 8, 2": ((8, 2), (2, 8)),
    "no rungs: 13": ((13, 2),),
    "no rungs: 3": ((3, 8),),
}
DRAWN = 2000


def planned(setting: str, folder: Path, seed: int) -> tuple[Any, FitPlan, EdgeSpace]:
    """Return images, test images and labels; the plan of a long fit; and its space."""
    loaded = load(ALL[setting], folder, seed)
    request = FitRequest(
        loaded[0], parse_limits(ALL[setting].limit), PLANNED, time.perf_counter(), seed, "cpu",
        "none", report=False, baselines=(), teacher=None, sieve=SieveConfig(), tell=print,
    )  # fmt: skip
    plan, space, _ = make_plan(request, choose_threads=False, batch_size=None)
    return loaded, plan, space


def strategy_of(space: EdgeSpace, plan: FitPlan, seed: int, **options: Any) -> BaseStrategy:
    """Return the strategy of the plan with one rung."""
    given = {**plan.strategy_options, "rungs": 1, **options}
    return cast(BaseStrategy, ddpnas.create_strategy("halving", space, seed, **given))


def evaluator_of(
    space: EdgeSpace, plan: FitPlan, data: ddpnas.Data, unit: float, seed: int
) -> ContinuedEvaluator:
    """Return the evaluator of the plan with a unit of seconds for the first score."""
    config = ContinuedConfig(**{**plan.evaluator_options, "epochs": unit, "growth": 2.0})
    return ContinuedEvaluator(space, data, config, seed=seed, device="cpu")


def rows(path: Path, setting: str) -> list[dict[str, Any]]:
    """Return what was measured before."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["setting"] == setting]


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield figures of each network of the pool that is not in the file."""
    (data, images, labels), plan, space = planned(options.setting, options.data_folder, 0)
    strategy = strategy_of(space, plan, 0, candidates=options.networks, proposals="prior")
    costs = ddpnas.count_costs(space)
    done = {row["architecture"] for row in rows(options.out, options.setting)}
    evaluator = evaluator_of(space, plan, data, options.unit, 0)
    proxies = ProxyScores(space, data, 0)
    valid = cast(Any, data.valid)
    place = 0
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, [0.5] * len(batch))
        for one in batch:
            place += 1
            if space.format(one) in done:
                continue
            scores = [next(iter(evaluator.evaluate([one]))).score for _ in UNITS]

            def make(one: Architecture = one) -> nn.Module:
                with seeded(0):
                    return space.build(one)

            model, about = alone(make, data, options.seconds, 0)
            model.eval()
            yield {
                "setting": options.setting, "place": place, "architecture": space.format(one),
                "macs": costs["macs"].cost(one), "params": costs["params"].cost(one),
                "scores": scores,
                "valid": float(right(model, data, valid.inputs, valid.labels).mean()),
                "test": float(right(model, data, images, labels).mean()), **about,
                **proxies.measure(one), "unit": options.unit, "seconds": options.seconds,
            }  # fmt: skip


def proposals(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield scores of what enters second, after the same first half, for each seed."""
    (data, _, _), plan, space = planned(options.setting, options.data_folder, 0)
    done = {row["seed"] for row in rows(options.out, options.setting)}
    for seed in set(options.seeds) - done:
        found: dict[str, list[float]] = {}
        evaluator = evaluator_of(space, plan, data, 2 * options.unit, seed)
        score = functools.cache(lambda one, by=evaluator: next(iter(by.evaluate([one]))).score)
        for kind in ("theta", "prior"):
            strategy = strategy_of(space, plan, seed, candidates=8, proposals=kind)
            while not strategy.done:
                batch = strategy.ask()
                found[kind] = [score(one) for one in batch]
                strategy.tell(batch, found[kind])
        yield {"setting": options.setting, "seed": seed, **found}


def winner(pool: Sequence[dict[str, Any]], race: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return which network of the pool wins; the first ones enter."""
    left = list(pool[: race[0][0]])
    for (_, units), (keep, _) in zip(race, (*race[1:], (1, 0)), strict=True):
        at = UNITS.index(units)
        left = sorted(left, key=lambda row: -row["scores"][at])[:keep]
    return left[0]


def play(options: argparse.Namespace) -> None:
    """Print what the winners of each race reach, and what says so beforehand."""
    lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    rng = np.random.default_rng(0)
    for setting in sorted({row["setting"] for row in lines}):
        pool = [row for row in lines if row["setting"] == setting]
        tests = 100 * np.array([row["test"] for row in pool])
        first = min(pool, key=lambda row: row["place"])
        print(f"\n{setting}: {len(pool)} networks, {tests.mean():.2f} +- {tests.std(ddof=1):.2f};")
        print(f"the first design {100 * first['test']:.2f}, the best {tests.max():.2f}")
        others = [row for row in pool if row is not first]
        for name, race in RACES.items():
            for with_design in (True, False):
                reached = []
                for _ in range(DRAWN):
                    drawn = [others[i] for i in rng.permutation(len(others))]
                    entered = [first, *drawn] if with_design else drawn
                    reached.append(100 * winner(entered, race)["test"])
                units = sum(
                    n * (u - b) for (n, u), b in zip(race, (0, *(u for _, u in race)), strict=False)
                )
                kind = "with the design" if with_design else "drawn ones only"
                print(f"| {name} | {kind} | {units} | {np.mean(reached):.2f} |")
        tau = functools.partial(kendalltau, [row["test"] for row in pool])
        for at, units in enumerate(UNITS):
            print(f"tau of the score after {units}: {tau([r['scores'][at] for r in pool])[0]:.2f}")
        for name in ("macs", "params", "naswot", "synflow", "epochs"):
            print(f"tau of {name}: {tau([row[name] for row in pool])[0]:.2f}")


def main() -> None:
    """Measure what is missing, or play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["measure", "play", "proposals"])
    parser.add_argument("--setting", default="fashion-2m", choices=list(ALL))
    parser.add_argument("--networks", type=int, default=14)
    parser.add_argument("--unit", type=float, default=1.5, help="seconds of training")
    parser.add_argument("--seconds", type=float, default=40.0, help="of the training alone")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(6)))
    parser.add_argument("--data-folder", type=Path, default=Path("build/worth"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "play":
        play(options)
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for row in (measure if options.what == "measure" else proposals)(options):
        print({k: v for k, v in row.items() if k != "architecture"}, flush=True)
        with options.out.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
