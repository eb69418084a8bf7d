"""How long exact generation takes, and what the usual ways miss.

Aims: 21 decisions x 7 choices within one limit in under 20 ms, three limits 100 ms; DARTS (28 x 8,
two inputs a node) within one limit 1 s; 200 x 10 within two limits 2 s; the whole frontier of
21 x 7 in 1 s. The costs of 21 x 7 are those of ProxylessNAS's choices in MobileNetV2, of 28 x 8
those of DARTS, counted; of 200 x 10 they are random. Distributions are random, from nearly decided
to nearly uniform; the first limit lies 10 to 90 % of the way from the least cost to that of the
likeliest architecture, each further one 80 to 100 % of the way to that of the best within those
before. Beside it in the same process: the same as a 0-1 program by HiGHS alone, the
authors' dynamic programming over rounded weights, and evolutionary search with rejection.

    python -m benchmarks.generate --instances 100 --out records/generate/generate.json
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.authors_dp import rounded_programme
from benchmarks.evolution import evolve
from benchmarks.record import write_record
from ddpnas import CostTable, JointDistribution, count_costs, create_space, frontier, generate
from ddpnas.errors import InfeasibleError
from ddpnas.generation._milp import ZeroOneProgram
from ddpnas.generation.cost_ranges import cost_bounds
from ddpnas.generation.limits import parse_limits
from ddpnas.generation.objective import objective_rows, objective_value
from ddpnas.space import Decision, DecisionSpace

SHARPNESS = {"nearly decided": 0.1, "between": 1.0, "nearly uniform": 10.0}


@dataclass(frozen=True)
class Case:
    """A space, its costs and which of them are limited."""

    name: str
    space: DecisionSpace
    costs: Mapping[str, CostTable]
    aim_ms: float


@dataclass(frozen=True)
class Instance:
    """A distribution and limits."""

    sharpness: str
    distribution: JointDistribution
    limits: dict[str, float]


def proxyless() -> tuple[DecisionSpace, dict[str, CostTable]]:
    """Return 21 blocks x 7 choices: kernels 3, 5, 7 by expansions 3, 6; skip, or k3_e1."""
    space = create_space("mobilenet-v2")
    decisions = []
    for decision in space.decisions:
        chosen = [o for o in decision.options if o[1:2] in "357" and o.endswith(("e3", "e6"))]
        last = "skip" if "skip" in decision.options else "k3_e1"
        decisions.append(Decision(decision.name, (*chosen, last)))
    pairs = {(d.name, o) for d in decisions for o in d.options}
    costs = {
        name: CostTable(
            name, table.unit, table.fixed, {k: c for k, c in table.terms.items() if set(k) <= pairs}
        )
        for name, table in count_costs(space).items()
    }
    return DecisionSpace(decisions), costs


def synthetic(decisions: int, options: int, tables: int) -> Case:
    """Return a space with random costs of up to ten million, independent of each other."""
    rng = np.random.default_rng(0)
    names = [f"o{i}" for i in range(options)]
    space = DecisionSpace([Decision(f"d{i}", tuple(names)) for i in range(decisions)])
    costs = {
        f"c{i}": CostTable(
            f"c{i}",
            "units",
            0,
            {((d.name, o),): int(rng.integers(10**7)) for d in space.decisions for o in names},
        )
        for i in range(tables)
    }
    return Case(f"{decisions} x {options}, {tables} random costs", space, costs, 2000.0)


def instances(case: Case, number: int) -> Iterator[Instance]:
    """Yield so many instances of each sharpness that can be met."""
    least = {name: cost_bounds(table, case.space)[0] for name, table in case.costs.items()}
    for sharpness, concentration in SHARPNESS.items():
        rng = np.random.default_rng(1)
        found = 0
        while found < number:
            rows = [
                np.maximum(rng.dirichlet(np.full(len(d.options), concentration)), 1e-9)
                for d in case.space.decisions
            ]
            distribution = JointDistribution.uniform(case.space.decisions).with_rows(rows)
            limits: dict[str, float] = {}
            part = rng.uniform(0.1, 0.9)
            for name, low in least.items():  # each tightens the optimum within those before it
                best = generate(distribution, case.space, limits, case.costs)
                limits[name] = float(round(low + part * (best.costs[name] - low)))
                part = rng.uniform(0.8, 1.0)
            try:
                generate(distribution, case.space, limits, case.costs)
            except InfeasibleError:
                continue
            found += 1
            yield Instance(sharpness, distribution, limits)


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what the call returns, and its milliseconds of wall and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def figures(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and worst."""
    ordered = np.sort(milliseconds)
    return {
        "median": float(np.median(ordered)),
        "p95": float(np.percentile(ordered, 95)),
        "worst": float(ordered[-1]),
    }


def measure(case: Case, number: int, by_programme: int) -> dict[str, Any]:
    """Return times of one case, and of the 0-1 program on the first instances of each kind."""
    wall, cpu, other, other_cpu, equal = [], [], [], [], 0
    generate(*_arguments(case, next(instances(case, 1))))  # imports and caches
    for i, instance in enumerate(instances(case, number)):
        runs = [timed(functools.partial(generate, *_arguments(case, instance))) for _ in range(3)]
        wall.append(statistics.median(ms for _, ms, _ in runs))
        cpu.append(statistics.median(ms for _, _, ms in runs))
        if i % number < by_programme:
            rows = objective_rows("log_theta", instance.distribution, case.space)
            limits = parse_limits(instance.limits)
            value = np.concatenate(rows)
            solved, ms, used = timed(
                lambda: ZeroOneProgram(case.space, case.costs).maximize(value, limits)  # noqa: B023
            )
            other.append(ms)
            other_cpu.append(used)
            ours = runs[0][0].certificate.objective
            theirs = objective_value(rows, case.space, solved.architecture)
            equal += abs(ours - theirs) <= 1e-7 * max(1.0, abs(ours))
    return {
        "case": case.name,
        "aim_ms": case.aim_ms,
        "n": len(wall),
        "wall_ms": figures(wall),
        "cpu_ms": figures(cpu),
        "within_aim_wall": float(np.mean(np.array(wall) <= case.aim_ms)),
        "within_aim_cpu": float(np.mean(np.array(cpu) <= case.aim_ms)),
        "programme_n": len(other),
        "programme_wall_ms": figures(other),
        "programme_cpu_ms": figures(other_cpu),
        "programme_same_optimum": equal,
    }


def _arguments(case: Case, one: Instance) -> tuple[Any, ...]:
    return one.distribution, case.space, one.limits, case.costs


def _encoded(case: Case, architecture: Mapping[str, str]) -> list[int]:
    return list(case.space.encode(architecture))


def _evolved(*arguments: Any) -> list[int] | None:
    return evolve(*arguments)[0]


def measure_frontier(case: Case, axes: list[str], number: int) -> dict[str, Any]:
    """Return times and sizes of whole frontiers."""
    wall, cpu, points = [], [], []
    for instance in instances(case, number):
        found, ms, used = timed(
            functools.partial(frontier, instance.distribution, case.space, axes, None, case.costs)
        )
        wall.append(ms)
        cpu.append(used)
        points.append(len(found))
    return {
        "case": f"{case.name}: {' and '.join(axes)}",
        "aim_ms": 1000.0,
        "n": len(wall),
        "wall_ms": figures(wall),
        "cpu_ms": figures(cpu),
        "points": {"median": float(np.median(points)), "most": max(points)},
    }


def compare(case: Case, number: int) -> list[dict[str, Any]]:
    """Return how often other ways find the optimum of the sum of theta within one limit."""
    (cost_name,) = case.costs
    table = case.costs[cost_name]
    cost = np.array(
        [[table.terms.get(((d.name, o),), 0.0) for o in d.options] for d in case.space.decisions]
    )
    tallies: dict[tuple[str, str], list[tuple[float | None, float]]] = {}
    for i, instance in enumerate(instances(case, number)):
        theta = np.array(instance.distribution.rows)
        budget = instance.limits[cost_name] - table.fixed
        call = _arguments(case, instance)
        exact, _, ms = timed(functools.partial(generate, *call, objective="theta"))
        best = exact.certificate.objective
        ways: dict[str, Callable[[], list[int] | None]] = {
            "exact": functools.partial(_encoded, case, exact.architecture),
            "rounded weights": functools.partial(rounded_programme, theta, cost, budget),
        }
        for times in (1, 10, 100):
            ways[f"evolution, {times} x the time"] = functools.partial(
                _evolved, theta, cost, budget, times * ms / 1000, i
            )
        for way, search in ways.items():
            chosen, _, spent = timed(search)
            spent = ms if way == "exact" else spent
            tally = tallies.setdefault((way, instance.sharpness), [])
            if chosen is None:
                tally.append((None, spent))
                continue
            at = np.arange(len(chosen)), np.array(chosen)
            over = cost[at].sum() > budget
            tally.append((np.inf if over else 1 - theta[at].sum() / best, spent))
    return [_tallied(*key, tally) for key, tally in tallies.items()]


def _tallied(way: str, sharpness: str, tally: list[tuple[float | None, float]]) -> dict[str, Any]:
    short = [s for s, _ in tally if s is not None and np.isfinite(s)]
    return {
        "way": way,
        "theta": sharpness,
        "n": len(tally),
        "optimal": sum(s <= 1e-9 for s in short) / len(tally),
        "shortfall_mean": statistics.mean(short) if short else None,
        "shortfall_worst": max(short) if short else None,
        "over_budget": sum(s == np.inf for s, _ in tally) / len(tally),
        "no_answer": sum(s is None for s, _ in tally) / len(tally),
        "cpu_ms_median": statistics.median(ms for _, ms in tally),
    }


def show(records: Sequence[Mapping[str, Any]]) -> None:
    """Print records as a table, nested ones flattened."""
    flat = [
        {
            (f"{name} {part}" if isinstance(value, dict) else name): number
            for name, value in record.items()
            for part, number in (value.items() if isinstance(value, dict) else [("", value)])
        }
        for record in records
    ]
    names = list(dict.fromkeys(itertools.chain(*flat)))
    lines = [names]
    for record in flat:
        values = [record.get(name) for name in names]
        lines.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100, help="of each sharpness")
    parser.add_argument("--programme", type=int, default=10, help="of these also as 0-1 program")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    space, counted = proxyless()
    darts = create_space("darts")
    darts_costs = count_costs(darts)
    macs = {"macs": counted["macs"]}
    three = {name: counted[name] for name in ("macs", "params", "activation_bytes")}
    one_limit = Case("21 x 7, one limit", space, macs, 20.0)
    cell = Case("DARTS 28 x 8, one limit", darts, {"macs": darts_costs["macs"]}, 1000.0)
    cases = [
        one_limit,
        Case("21 x 7, three limits", space, three, 100.0),
        Case("21 x 7, 3 random costs", *_random(21, 7, 3), 100.0),
        cell,
        synthetic(200, 10, 2),
    ]
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.generate --instances {options.instances} "
        f"--programme {options.programme}",
        "times": [],
        "frontiers": [],
    }
    for case in cases:
        slow = case.aim_ms >= 2000
        number = max(1, options.instances // (5 if slow else 1))
        programme = max(1, options.programme // (3 if slow else 1))
        result["times"].append(measure(case, number, programme))
        show(result["times"][-1:])
    two = Case("21 x 7", space, {n: three[n] for n in ("macs", "params")}, 0.0)
    fewer = max(1, options.instances // 10)
    for case, axes in ((one_limit, ["macs"]), (cell, ["macs"]), (two, ["macs", "params"])):
        result["frontiers"].append(measure_frontier(case, axes, fewer))
        show(result["frontiers"][-1:])
    result["ways"] = compare(one_limit, max(1, options.instances // 2))
    show(result["ways"])
    if options.out:
        write_record(options.out, result)


def _random(decisions: int, options: int, tables: int) -> tuple[DecisionSpace, Any]:
    made = synthetic(decisions, options, tables)
    return made.space, made.costs


if __name__ == "__main__":
    main()
