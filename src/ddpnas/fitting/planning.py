"""make_plan(): measure the machine, size the space, and divide the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch

from ddpnas.costs.count import count_costs
from ddpnas.costs.pace import Pace
from ddpnas.data.data import Data
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.fitting.plan import EXPORTING, REPORTING, TESTING, FitPlan, divide
from ddpnas.fitting.speed import epoch_seconds, measure_pace
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import DESIGNS, SIZED_BY, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.utils.duration import duration
from ddpnas.utils.seeds import seeded

__all__ = ["make_plan"]

# Weights of options in draws, by the end of the decision's name; chosen as the division of time.
_PRIOR = {
    ".block": {"residual": 4.0, "fused": 2.0, "inverted": 0.25},
    ".depth": {"1": 3.0, "2": 2.0, "3": 1.0},
    ".se": {"none": 8.0, "se": 1.0},
    ".kernel": {"3": 3.0, "5": 1.0},
    ".expansion": {"1": 4.0, "2": 2.0, "3": 1.0, "4": 0.5, "6": 0.5},
    "head": {"none": 4.0, "conv": 1.0},
}
_FASTEST = 0.3  # share of the draws that may race, those whose epochs take the least
_LEAST = 0.8  # of an upper limit on the multiply-adds
_EPOCHS = 40  # to be had in the time, if there is no limit
_FIRST_GUESS = "4M"  # multiply-adds of the network whose speed sizes the others, without a limit
_MEASURED = 5  # networks whose speed is measured, at most
_MEASURING = 0.03  # share of the time for that, at most
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
    tell: Callable[[str], object],
) -> FitPlan:
    """Return a plan for this data on this machine.

    Args:
        data: The data.
        limits: Limits of the network; none for a network that can be trained well in the time.
        seconds: Seconds of the whole fit.
        begun: When it began, by ``time.perf_counter()``.
        seed: Seed for everything random.
        device: Where it trains.
        export: Whether a file is exported at the end.
        teacher: Network that the final training distils from.
        report: Whether a report is written at the end.
        tell: Takes lines of text.

    Raises:
        OptionError: A limit is on a cost that cannot be counted, or the time is too short to train
            anything.
        InfeasibleError: No network of the space is within the limits.
    """
    for name in limits:
        if name not in SIZED_BY:
            raise OptionError(
                f"fit limits what can be counted ({', '.join(SIZED_BY)}), not {name}; search with "
                f"`ddpnas search`, then give {name} to `ddpnas generate` with a measured table"
            )
    recipe = create_recipe("quick")
    reserve = min(TESTING + REPORTING * report + EXPORTING * export, 0.25 * seconds)
    left = seconds - reserve - (time.perf_counter() - begun)
    fitting = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    if not limits:
        limits = _sized_by_time(fitting, data, recipe, device, left)
    space = cast(EdgeSpace, create_space("edge", **fitting, limits=_texts(limits)))
    designs = _designs(space, limits)
    costs = count_costs(space)
    rng = np.random.default_rng(seed)
    # So far from the designs that the pace knows what arithmetic and what memory traffic costs.
    others = (
        sample_within(space, limits, costs, rng, margin=0.0)
        for _ in range(_MEASURED - len(designs))
    )
    measured = [*designs, *others]
    pace = measure_pace(
        space, measured, costs, data, recipe, device=device, most_seconds=_MEASURING * left
    )
    fastest = min(
        pace.of({name: table.cost(one) for name, table in costs.items()}) for one in measured
    )
    started = time.perf_counter() - begun
    left = seconds - reserve - started
    if left < fastest:
        raise OptionError(
            f"{duration(seconds)} are too short: an epoch of training takes {duration(fastest)}, "
            f"and {duration(started + reserve)} go to preparing, testing and writing; give at "
            f"least --minutes {(started + reserve + 3 * fastest) / 60:.1f}, or fewer images"
        )
    race = divide(left, fastest)
    racing = f"{race.candidates} candidates race, the winner is trained for the rest of"
    if race.candidates == 1:
        racing = "too long for a race, so a standard design is trained for"
    tell(f"an epoch takes {duration(fastest)}: {racing} {duration(left)}")
    return FitPlan(
        seconds=seconds,
        started=started,
        reserve=reserve,
        limits=_texts(limits),
        seed=seed,
        device=device,
        threads=torch.get_num_threads(),
        teacher=teacher,
        data=dict(data.source) or None,
        space_options=space.plain_options,
        strategy_options={
            "candidates": race.candidates,
            "reduction": race.reduction,
            "rungs": race.rungs,
            "limits": _in_race(limits),
            "pace": dict(pace.seconds),
            "fastest": _FASTEST,
            # One standard error of an accuracy, at most.
            "lead": round(0.5 / math.sqrt(len(data.valid)), 4),
            "first": [dict(one) for one in _quickest(designs, costs, pace)],
            "prior": _prior(space),
        },
        evaluator_options={
            "epochs": race.seconds,
            "growth": float(race.reduction),
            "pace": dict(pace.seconds),
        },
        recipe={} if race.candidates == 1 else {"warmup": _WARMUP},
    )


def _sized_by_time(
    fitting: Mapping[str, Any], data: Data, recipe: Recipe, device: str, seconds: float
) -> dict[str, Limit]:
    """Return the multiply-adds of a network that has enough epochs in the time."""
    guess = {"macs": Limit.parse(_FIRST_GUESS)}
    space = cast(EdgeSpace, create_space("edge", **fitting, limits=_texts(guess)))
    with seeded(0):
        network = space.build(space.scaled("residual", dict(guess)))
    each = epoch_seconds(network, data, recipe, device)
    macs = guess["macs"].upper * seconds / (_EPOCHS * each)
    return {"macs": Limit(upper=float(round(min(max(macs, 2e5), 4e9), -4)))}


def _texts(limits: Mapping[str, Limit]) -> dict[str, str]:
    return {name: str(limit) for name, limit in limits.items()}


def _designs(space: EdgeSpace, limits: Mapping[str, Limit]) -> list[Architecture]:
    """Return the standard designs that fit; the residual one first."""
    found = []
    reasons = []
    for name in DESIGNS:
        try:
            one = space.scaled(name, dict(limits))
        except InfeasibleError as error:
            reasons.append(error)
        else:
            if one not in found:
                found.append(one)
    if not found:
        raise reasons[0]
    return found


def _quickest(
    designs: list[Architecture], costs: Mapping[str, Any], pace: Pace
) -> list[Architecture]:
    """Return one or two designs that train fast; the others could not win."""
    each = [pace.of({name: t.cost(one) for name, t in costs.items()}) for one in designs]
    return [one for one, s in zip(designs, each, strict=True) if s <= 1.3 * min(each)][:2]


def _in_race(limits: Mapping[str, Limit]) -> dict[str, str]:
    """Return the limits of candidates: near the upper one, where the better networks are."""
    found = dict(limits)
    if "macs" in found and found["macs"].upper < math.inf:
        given = found["macs"]
        found["macs"] = Limit(max(given.lower, _LEAST * given.upper), given.upper)
    return _texts(found)


def _prior(space: EdgeSpace) -> dict[str, dict[str, float]]:
    found = {}
    for decision in space.decisions:
        for end, weights in _PRIOR.items():
            if decision.name == end or (end[0] == "." and decision.name.endswith(end)):
                found[decision.name] = {o: weights.get(o, 1.0) for o in decision.options}
    return found
