"""make_plan(): measure the machine, size the space, and divide the time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_architecture
from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError
from ddpnas.fitting.candidates import Entry, draw_candidates, prior_of
from ddpnas.fitting.designs import PEAK, added_limits, any_within, entry_by_peak
from ddpnas.fitting.plan import MORE, FitPlan, Race, divide
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.sizing import Sized, limit_texts, sized, standard_designs, trial_epoch
from ddpnas.fitting.speed import measure_pace
from ddpnas.fitting.timed import TimedLimits, split_limits
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.utils.duration import duration

__all__ = ["make_plan"]

_FASTEST = 0.3  # share of the draws that may race, those whose epochs take the least
_LEAST = 0.8  # of the multiply-adds of the first design
_MEASURED = 2  # drawn networks whose speed is measured, at most
_MEASURING = 0.03  # share of the time for that, at most
_TIMING = 0.08  # share of the time for a latency table, about
_WARMUP = 0.05  # of the final training after a race, in which its network has warmed up


def make_plan(
    request: FitRequest, *, choose_threads: bool, batch_size: int | None
) -> tuple[FitPlan, EdgeSpace, CostTable | None]:
    """Return a plan for this data on this machine, the space that it is for, and its latency table.

    The table is None unless candidates have to be within milliseconds.

    Args:
        request: What the fit was asked for; without limits, it gets a network that can be trained
            well in the time.
        choose_threads: Whether the number of threads may be changed to what is faster.
        batch_size: Images a step; None is what suits their number.

    Raises:
        OptionError: A limit is on a cost that cannot be counted, or the time is too short to train
            anything.
        InfeasibleError: No network of the space is within the limits.
    """
    recipe = create_recipe("quick", batch_size=batch_size)
    data, device = request.data, request.device
    counted, timed = split_limits(request.limits)
    networks = sized(
        counted, data, recipe, device, request.left(request.reserve()),
        timed=timed, teaching=request.teaching, choose_threads=choose_threads,
    )  # fmt: skip
    latency: TimedLimits | None = None
    if timed:
        networks, latency = _within_milliseconds(networks, timed, request, recipe)
    elif not counted:  # then the time is the limit
        request = dataclasses.replace(request, limits=networks.limits)
    space, each = networks.space, networks.each
    reserve = request.reserve(each=each)
    if request.left(reserve) >= each:
        reserve = request.reserve(request.exporting(space.build(networks.design)), each)
    left = request.left(reserve)
    whole = request.final_epoch(each, recipe)
    if left < whole:
        raise request.too_short(whole, reserve, "or fewer images")
    if latency is None or latency.table is not None:
        race = divide(left, each)
    else:  # a race needs a table: the time to count all operations, and as much to measure some
        race = divide((1 - 2 * _TIMING) * left, each)
        if race.candidates > 1:
            measured = _measured(networks, timed, request)
            left = request.left(reserve)
            race = divide(left, each)
            latency = latency if race.candidates == 1 else measured
    if race.candidates == 1:
        request.tell(
            f"an epoch takes {duration(each)}, too long for a race: a standard design is trained"
        )
        settings = _without_race(request, networks, race, left / whole)
        if latency is not None and latency.table is None:
            took = latency.milliseconds(networks.design)
            request.tell(f"it takes {took:.3g} ms for an image here")
            settings["milliseconds"] = took
    else:
        settings = _with_race(request, networks, race, latency, batch_size)
    plan = request.plan(reserve, space_options=space.plain_options, **settings)
    if race.candidates > 1:
        request.tell(
            f"an epoch takes {duration(each)}: {race.candidates} candidates race, the winner is "
            f"trained for the rest of {duration(plan.training)}"
        )
    return plan, space, None if latency is None else latency.table


def _within_milliseconds(
    networks: Sized, timed: Mapping[str, Limit], request: FitRequest, recipe: Recipe
) -> tuple[Sized, TimedLimits]:
    """Return the same with a network within the milliseconds, and what says so.

    The best standard design is timed whole. Where none is within the limits, another network of the
    space is found by a latency table.
    """
    space, latency = networks.space, TimedLimits(networks.space, timed)
    try:
        design = next(standard_designs(space, networks.limits, latency, others=False))
    except InfeasibleError:
        latency = _measured(networks, timed, request)
        design = any_within(space, networks.limits, latency)
    if design == networks.design:
        return networks, latency
    each = trial_epoch(space, design, request.data, recipe, request.device, choose_threads=False)
    macs = count_architecture(space, design)["macs"]
    return dataclasses.replace(networks, design=design, macs=macs, each=each), latency


def _measured(networks: Sized, timed: Mapping[str, Limit], request: FitRequest) -> TimedLimits:
    """Return the limit in milliseconds with a latency table that is measured now."""
    seconds = _TIMING * request.left(request.reserve())
    return TimedLimits.measured(networks.space, networks.macs, timed, seconds, request.tell)


def _without_race(
    request: FitRequest, networks: Sized, race: Race, epochs: float
) -> dict[str, Any]:
    """Return settings of a plan that trains the first standard design for all of the time.

    Args:
        request: What the fit was asked for.
        networks: The space with the design.
        race: A race of one candidate.
        epochs: How many epochs of the final training fit into the time.
    """
    return {
        "strategy_options": _strategy(networks, race, [networks.design]),
        "evaluator_options": {"epochs": race.seconds / networks.each},
        "epochs": max(1, int(MORE * epochs)),
    }


def _with_race(
    request: FitRequest,
    networks: Sized,
    race: Race,
    latency: TimedLimits | None,
    batch_size: int | None,
) -> dict[str, Any]:
    """Return settings of a plan whose network is the winner of a race.

    Args:
        request: What the fit was asked for.
        networks: The space with its limits.
        race: How many candidates race, and for how long.
        latency: A limit on milliseconds; None for none.
        batch_size: Images a step; None is what suits their number.
    """
    space, limits, seed, data = networks.space, networks.limits, request.seed, request.data
    costs = count_costs(space)
    designs = list(standard_designs(space, limits, latency))
    others = _others(space, added_limits(limits), costs, seed)
    found = measure_pace(
        space, [*designs, *others], costs, data,
        create_recipe("quick", batch_size=batch_size), device=request.device,
        most_seconds=_MEASURING * request.left(request.reserve()),
    )  # fmt: skip
    designs, pace = _quickest(designs, costs, found), dict(found.seconds)
    strategy = _strategy(networks, race, designs)
    near = _in_race(limits, "macs", costs["macs"].cost(designs[0]))
    missing = max(0, race.candidates - len(designs))
    entry: Entry | None = None  # then drawn here, as the strategy cannot tell what fits
    if latency is not None:
        counted, _ = split_limits(request.limits)
        milliseconds = latency.milliseconds(designs[0])
        wanted = _in_race({**counted, **latency.limits}, "latency_ms", milliseconds)
        entry = latency.entry(wanted, costs)
    elif PEAK in limits:
        entry = entry_by_peak(space, near, costs)
    if entry is not None:
        drawn = draw_candidates(space, entry, costs, pace, missing, seed)
        names = [dict(one) for one in dict.fromkeys([*designs, *drawn])]
        strategy |= {"candidates": len(names), "first": names}
    else:
        strategy |= {
            "limits": limit_texts(near),
            "pace": pace,
            "fastest": _FASTEST,
            # One standard error of an accuracy, at most.
            "lead": round(0.5 / math.sqrt(len(data.valid)), 4),
        }
    return {
        "strategy_options": strategy,
        "evaluator_options": {
            "epochs": race.seconds, "growth": float(race.reduction), "pace": pace
        },
        "recipe": {"warmup": _WARMUP},
    }  # fmt: skip


def _strategy(networks: Sized, race: Race, designs: Sequence[Architecture]) -> dict[str, Any]:
    """Return options of the strategy ``halving`` that every plan has."""
    return {
        "candidates": race.candidates,
        "reduction": race.reduction,
        "rungs": race.rungs,
        "first": [dict(one) for one in designs],
        "prior": prior_of(networks.space),
    }


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


def _in_race(limits: Mapping[str, Limit], name: str, reached: float) -> dict[str, Limit]:
    """Return the limits of candidates: as costly as a standard design, or nearly so.

    Larger networks are better, but there may be none near a limit where another limit binds.

    Args:
        limits: Limits of the network.
        name: The cost that says how large a network is.
        reached: That cost of a standard design, which is as large as the limits allow.
    """
    if name not in limits or limits[name].upper == math.inf:
        return dict(limits)
    given = limits[name]
    return {**limits, name: Limit(max(given.lower, _LEAST * reached), given.upper)}
