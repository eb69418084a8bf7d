"""Networks that ``ddpnas search`` finds in the space ``edge``, as rivals of ``ddpnas fit``.

Each search gets a number of seconds, and its result is generated within a limit on multiply-adds or
on the milliseconds of one image and one thread. A latency table is measured within the seconds. A
part of the training images is searched on, and all of them train what is found.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

import ddpnas
from ddpnas.cli._presets import PRESETS
from ddpnas.fitting.timed import LATENCY, TimedLimits, split_limits
from ddpnas.generation.limits import parse_limits
from ddpnas.space import Architecture
from ddpnas.spaces.edge import EdgeSpace

__all__ = ["SEARCHES", "space_within"]

_TABLE = 0.1  # share of the seconds for a latency table, about
_PART = 4  # every fourth image is searched on: all of them take too long for some epochs
_TRIED = 8  # paths that are scored to see how long it takes

# Space, architecture, and the network if it has weights already.
Found = tuple[EdgeSpace, Architecture, nn.Module | None]
Search = Callable[[ddpnas.Data, Mapping[str, float], float, int], Found]


def space_within(data: ddpnas.Data, limit: Mapping[str, float]) -> tuple[EdgeSpace, float]:
    """Return the space for a limit, and the multiply-adds of networks at it.

    Args:
        data: The images.
        limit: One cost, "macs" or "latency_ms", and how much of it.
    """
    fitting = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    _, timed = split_limits(parse_limits(limit))
    macs = 4e6 if timed else limit["macs"]
    for _ in range(3 if timed else 0):  # until a hand-written design takes about the milliseconds
        space = cast(EdgeSpace, ddpnas.create_space("edge", **fitting, limits={"macs": macs}))
        took = TimedLimits(space, timed).milliseconds(space.scaled("residual", {"macs": macs}))
        macs *= timed[LATENCY].upper / took
    return cast(EdgeSpace, ddpnas.create_space("edge", **fitting, limits={"macs": macs})), macs


def by_default(data: ddpnas.Data, limit: Mapping[str, float], seconds: float, seed: int) -> Found:
    """Search with the defaults of ``ddpnas search``, for as many epochs as there is time."""
    return *inheriting(data, limit, seconds, seed)[:2], None


def inheriting(data: ddpnas.Data, limit: Mapping[str, float], seconds: float, seed: int) -> Found:
    """Search in the same way; what is found begins with its part of the shared weights."""
    begun = time.perf_counter()
    space, costs, _ = _prepared(data, limit, seconds)
    few = _part(data)
    tried = ddpnas.search(
        space, few, "random", seed=seed, strategy_options={"evaluations": _TRIED}, device="cpu",
        evaluator_options={"warmup_epochs": 1},
    ).history  # fmt: skip
    scoring = min(record["seconds"] for record in tried)
    epoch = tried[0]["seconds"] - scoring
    left = seconds - (time.perf_counter() - begun)
    # The paper's schedule, with a cycle a stage, or as many scores as half of the time allows.
    schedule = ddpnas.create_strategy("ddpnas", space, cycles_per_stage=1).evaluations
    scores = min(schedule, int(left / 2 / scoring))
    options = {"cycles_per_stage": 1} if scores == schedule else {"evaluations": max(1, scores)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        found = ddpnas.search(
            space, few, seed=seed, strategy_options=options, device="cpu", out=out,
            evaluator_options={"warmup_epochs": max(1, int((left - scores * scoring) / epoch))},
        )  # fmt: skip
        shared = cast(Any, ddpnas.runs.Run(out).evaluator(space, few, device="cpu")).supernet
    chosen = ddpnas.generate(found.distribution, space, limit, costs).architecture
    return space, chosen, space.build(chosen, weights_from=shared)


def tiered(data: ddpnas.Data, limit: Mapping[str, float], seconds: float, seed: int) -> Found:
    """Search with the preset "tiered", with the limited cost in its loss."""
    begun = time.perf_counter()
    space, costs, table = _prepared(data, limit, seconds)
    preset: dict[str, Any] = PRESETS["tiered"].options
    with tempfile.TemporaryDirectory() as folder:
        cost = "macs"
        if table is not None:
            cost = str(Path(folder) / "latency.json")
            table.save(cost)
        left = seconds - (time.perf_counter() - begun)
        found = ddpnas.search(
            space, _part(data), preset["strategy"], seed=seed, evaluator=preset["evaluator"],
            strategy_options={**preset["strategy_options"], "cost": cost, "seconds": left},
            device="cpu",
        )  # fmt: skip
    return space, ddpnas.generate(found.distribution, space, limit, costs).architecture, None


def _part(data: ddpnas.Data) -> ddpnas.Data:
    """Return the data with a part of the training images."""
    numbers = range(0, len(data.train), _PART)
    return dataclasses.replace(data, train=data.train.subset(numbers))


def _prepared(
    data: ddpnas.Data, limit: Mapping[str, float], seconds: float
) -> tuple[EdgeSpace, dict[str, ddpnas.CostTable], ddpnas.CostTable | None]:
    """Return the space, all cost tables, and the latency table if the limit needs one."""
    space, macs = space_within(data, limit)
    _, timed = split_limits(parse_limits(limit))
    costs = dict(ddpnas.count_costs(space))
    if not timed:
        return space, costs, None
    table = TimedLimits.measured(space, macs, timed, _TABLE * seconds, print).table
    assert table is not None
    return space, {**costs, LATENCY: table}, table


SEARCHES: dict[str, Search] = {"search": by_default, "inherit": inheriting, "tiered": tiered}
