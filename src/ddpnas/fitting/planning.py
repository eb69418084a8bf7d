"""make_plan(): measure the machine, size the space, and divide the time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_network
from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.fitting.plan import MORE, FitPlan, divide, reserve_of
from ddpnas.fitting.speed import epoch_seconds, measure_pace
from ddpnas.fitting.timed import TimedLimits, split_limits
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import DESIGNS, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.utils.duration import duration
from ddpnas.utils.seeds import seeded

__all__ = ["make_plan"]

# Weights of options in draws, by the end of the decision's name; chosen as the division of time.
_PRIOR = {
    ".block": {"residual": 2.0, "conv": 2.0, "pool": 4.0, "fused": 1.0, "inverted": 0.25},
    ".depth": {"1": 3.0, "2": 2.0, "3": 1.0},
    "stem.down": {"pool": 2.0, "stride": 1.0},
    "head.pool": {"max": 2.0, "avg": 1.0},
    ".se": {"none": 8.0, "se": 1.0},
    ".kernel": {"3": 3.0, "5": 1.0},
    ".expansion": {"1": 4.0, "2": 2.0, "3": 1.0, "4": 0.5, "6": 0.5},
    "head": {"none": 4.0, "conv": 1.0},
}
_FASTEST = 0.3  # share of the draws that may race, those whose epochs take the least
_LEAST = 0.8  # of an upper limit on the multiply-adds
# Steps of training that a network should have in the time; with fewer, a smaller one is better.
_STEPS = 1500
_SIZED = 0.8  # of the multiply-adds that have these steps is near enough
_FIRST_GUESS = Limit(upper=4e6)  # multiply-adds of the first network, without a limit
_MACS = Limit(2e5, 4e9)  # range of the multiply-adds without a limit
_FEWEST = 1e4  # multiply-adds: hardly a network
_MEASURED = 2  # drawn networks whose speed is measured, at most
_MEASURING = 0.03  # share of the time for that, at most
_TIMING = 0.08  # share of the time for a latency table, about
_WARMUP = 0.05  # of the final training after a race, in which its network has warmed up


def make_plan(
    data: Data,
    limits: Mapping[str, Limit],
    seconds: float,
    begun: float,
    *,
    seed: int,
    device: str,
    export: bool,
    report: bool,
    teacher: str | None,
    sieve: SieveConfig,
    choose_threads: bool,
    batch_size: int | None,
    tell: Callable[[str], object],
) -> tuple[FitPlan, EdgeSpace, CostTable | None]:
    """Return a plan for this data on this machine, the space that it is for, and its latency table.

    The table is None where no limit is in milliseconds.

    Args:
        data: The data.
        limits: Limits of the network; none for a network that can be trained well in the time.
        seconds: Seconds of the whole fit.
        begun: When it began, by ``time.perf_counter()``.
        seed: Seed for everything random.
        device: Where it trains.
        export: Whether a file is exported at the end.
        teacher: Network that the final training distils from.
        sieve: Which images the final training reads.
        batch_size: Images a step; None is what suits their number.
        choose_threads: Whether the number of threads may be changed to what is faster.
        report: Whether a report is written at the end.
        tell: Takes lines of text.

    Raises:
        OptionError: A limit is on a cost that cannot be counted, or the time is too short to train
            anything.
        InfeasibleError: No network of the space is within the limits.
    """
    counted, timed = split_limits(limits)
    asked, limits = limits, counted
    recipe = create_recipe("quick", batch_size=batch_size)
    reserve = reserve_of(seconds, export=export, report=report)
    left = seconds - reserve - (time.perf_counter() - begun)
    latency: TimedLimits | None = None
    if timed:
        fitting = {"num_classes": len(data.classes), "input_shape": data.input_shape}
        limits = TimedLimits.sizes(fitting, limits, timed)
        space = cast(EdgeSpace, create_space("edge", **fitting, limits=_texts(limits)))
        latency = TimedLimits.measured(space, timed, _TIMING * left, tell)
        first = next(_designs(space, limits, latency))
        each = _epoch_of(space, first, data, recipe, device, choose_threads)
    else:
        space, limits, first, each = _sized(limits, data, recipe, device, left, choose_threads)
        asked = asked or limits
    left = seconds - reserve - (time.perf_counter() - begun)
    if left < each:
        raise OptionError(
            f"{duration(seconds)} are too short: an epoch of training takes {duration(each)}, and "
            f"{duration(seconds - left)} go to preparing, testing and writing; give at least "
            f"--minutes {(seconds - left + 3 * each) / 60:.1f}, or fewer images"
        )
    race = divide(left, each)
    pace: dict[str, float] = {}
    designs = [first]
    if race.candidates > 1:
        costs = count_costs(space)
        designs = list(_designs(space, limits, latency))
        found = measure_pace(
            space, [*designs, *_others(space, limits, costs, seed)], costs, data, recipe,
            device=device, most_seconds=_MEASURING * left,
        )  # fmt: skip
        designs, pace = _quickest(designs, costs, found), dict(found.seconds)
    plan = FitPlan(
        seconds=seconds,
        started=time.perf_counter() - begun,
        reserve=reserve,
        limits=_texts(asked),
        seed=seed,
        device=device,
        threads=torch.get_num_threads(),
        teacher=teacher,
        sieve=sieve.name,
        sieve_options=dict(sieve.options),
        data=dict(data.source) or None,
        space_options=space.plain_options,
    )
    table = None if latency is None else latency.table
    strategy: dict[str, Any] = {
        "candidates": race.candidates,
        "reduction": race.reduction,
        "rungs": race.rungs,
        "first": [dict(one) for one in designs],
        "prior": _prior(space),
    }
    if race.candidates == 1:
        tell(f"an epoch takes {duration(each)}, too long for a race: a standard design is trained")
        evaluator: dict[str, Any] = {"epochs": race.seconds / each}
        images = len(data.train) + (0 if data.test is None else len(data.valid))
        epochs = MORE * plan.training / (each * images / len(data.train) * sieve.mean_share)
        return (
            dataclasses.replace(
                plan,
                strategy_options=strategy,
                evaluator_options=evaluator,
                epochs=max(1, int(epochs)),
            ),
            space,
            table,
        )
    tell(
        f"an epoch takes {duration(each)}: {race.candidates} candidates race, the winner is "
        f"trained for the rest of {duration(plan.training)}"
    )
    if latency is not None:  # all candidates are drawn here, where the table is
        missing = max(0, race.candidates - len(designs))
        wanted = _in_race({**counted, **latency.limits}, "latency_ms")
        drawn = latency.draw(space, wanted, costs, _prior(space), pace, missing, seed)
        names = [dict(one) for one in dict.fromkeys([*designs, *drawn])]
        strategy |= {"candidates": len(names), "first": names}
    else:
        strategy |= {
            "limits": _texts(_in_race(limits)),
            "pace": pace,
            "fastest": _FASTEST,
            # One standard error of an accuracy, at most.
            "lead": round(0.5 / math.sqrt(len(data.valid)), 4),
        }
    evaluator = {"epochs": race.seconds, "growth": float(race.reduction), "pace": pace}
    return (
        dataclasses.replace(
            plan, strategy_options=strategy, evaluator_options=evaluator, recipe={"warmup": _WARMUP}
        ),
        space,
        table,
    )


def _epoch_of(
    space: EdgeSpace,
    architecture: Architecture,
    data: Data,
    recipe: Recipe,
    device: str,
    choose_threads: bool,
) -> float:
    """Return the seconds of an epoch, if asked by the better of all threads and one; it stays set.

    Beside other busy programs several threads wait for each other and are many times slower.
    """
    found = {}
    for number in {torch.get_num_threads(), *((1,) if choose_threads else ())}:
        torch.set_num_threads(number)
        with seeded(0):
            network = space.build(architecture)
        found[number] = epoch_seconds(network, data, recipe, device)
    best = min(found, key=lambda number: found[number])
    torch.set_num_threads(best)
    return found[best]


def _sized(
    limits: Mapping[str, Limit],
    data: Data,
    recipe: Recipe,
    device: str,
    seconds: float,
    choose_threads: bool,
) -> tuple[EdgeSpace, dict[str, Limit], Architecture, float]:
    """Return the space of the largest networks that have enough steps of training in the time.

    Where the largest network within the limits would have only a few epochs, a smaller one ends
    better. Without limits, it is the time alone that says how large networks may be.

    Returns:
        The space; limits that it is sized for, those of the fit or tighter ones; the first standard
        design within them; the seconds of an epoch of it.
    """
    options = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    epochs = planned_epochs(dataclasses.replace(recipe, epochs=None, steps=_STEPS), data)
    allowed = limits.get("macs", Limit()) if limits else _MACS
    wanted = dict(limits) or {"macs": _FIRST_GUESS}
    found: tuple[EdgeSpace, dict[str, Limit], Architecture, float] | None = None
    while True:
        space = cast(EdgeSpace, create_space("edge", **options, limits=_texts(wanted)))
        try:
            design = next(_designs(space, wanted, None))
        except InfeasibleError:
            if found is None:
                raise
            return found  # none is as small as that
        each = _epoch_of(space, design, data, recipe, device, choose_threads and found is None)
        macs = count_network(space.build(design), data.input_shape)["macs"]
        best = min(max(macs * seconds / (epochs * each), allowed.lower, _FEWEST), allowed.upper)
        near = _SIZED * macs <= best and (limits or best <= macs / _SIZED)
        if found is not None or near:
            return space, wanted, design, each
        found = space, wanted, design, each
        lower = allowed.lower if limits else -math.inf
        wanted = {**wanted, "macs": Limit(lower, float(f"{best:.2g}"))}


def _texts(limits: Mapping[str, Limit]) -> dict[str, str]:
    return {name: str(limit) for name, limit in limits.items()}


def _designs(
    space: EdgeSpace, limits: Mapping[str, Limit], latency: TimedLimits | None
) -> Iterator[Architecture]:
    """Yield the standard designs that fit, the best at equal seconds first."""
    seen: list[Architecture] = []
    reasons = []
    for name in DESIGNS:
        try:
            one = (
                latency.design(space, name, limits) if latency else space.scaled(name, dict(limits))
            )
        except InfeasibleError as error:
            reasons.append(error)
        else:
            if one not in seen:
                seen.append(one)
                yield one
    if not seen:
        raise reasons[0]


def _others(
    space: EdgeSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable], seed: int
) -> Iterator[Architecture]:
    """Yield networks so far from the designs that a pace tells arithmetic from memory traffic."""
    rng = np.random.default_rng(seed)
    for _ in range(_MEASURED):
        yield sample_within(space, limits, costs, rng, margin=0.0)


def _quickest(
    designs: list[Architecture], costs: Mapping[str, CostTable], pace: Pace
) -> list[Architecture]:
    """Return the first design, and the next one that trains as fast; slow ones could not win."""
    each = [pace.of({name: t.cost(one) for name, t in costs.items()}) for one in designs]
    fast = [one for one, s in zip(designs, each, strict=True) if s <= 1.3 * min(each)]
    return [designs[0], *[one for one in fast if one != designs[0]][:1]]


def _in_race(limits: Mapping[str, Limit], name: str = "macs") -> dict[str, Limit]:
    """Return the limits of candidates: near the upper one, where the better networks are."""
    found = dict(limits)
    if name in found and found[name].upper < math.inf:
        given = found[name]
        found[name] = Limit(max(given.lower, _LEAST * given.upper), given.upper)
    return found


def _prior(space: EdgeSpace) -> dict[str, dict[str, float]]:
    found = {}
    for decision in space.decisions:
        for end, weights in _PRIOR.items():
            if decision.name == end or (end[0] == "." and decision.name.endswith(end)):
                found[decision.name] = {o: weights.get(o, 1.0) for o in decision.options}
        if decision.name == "stem" or decision.name.endswith(".width"):
            found[decision.name] = {o: float(o) for o in decision.options}  # the wider, the better
    return found
