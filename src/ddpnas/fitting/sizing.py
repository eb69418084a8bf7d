"""How large the networks of a fit are: as large as the limits and the time allow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch

from ddpnas.costs.network import count_network
from ddpnas.data.data import Data
from ddpnas.errors import InfeasibleError
from ddpnas.fitting.designs import any_within
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.fitting.timed import TimedLimits
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import DESIGNS, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import Recipe
from ddpnas.utils.seeds import seeded

__all__ = ["Sized", "limit_texts", "sized", "standard_designs", "trial_epoch"]

# Steps of training that a network should have in the time; with fewer, a smaller one is better.
_STEPS = 1500
_SIZED = 0.8  # of the multiply-adds that have these steps is near enough
_FIRST_GUESS = Limit(upper=4e6)  # multiply-adds of the first network, without a limit
_MACS = Limit(2e5, 4e9)  # range of the multiply-adds without a limit
_FEWEST = 1e4  # multiply-adds: hardly a network


@dataclasses.dataclass(frozen=True)
class Sized:
    """A space for the limits and the time.

    Attributes:
        space: The space.
        limits: Limits that it is sized for: those of the fit, or tighter ones.
        design: The first standard design within them.
        each: Seconds of an epoch of that design.
    """

    space: EdgeSpace
    limits: dict[str, Limit]
    design: Architecture
    each: float


def sized(
    limits: Mapping[str, Limit],
    data: Data,
    recipe: Recipe,
    device: str,
    seconds: float,
    *,
    choose_threads: bool,
) -> Sized:
    """Return the space of the largest networks that have enough steps of training in the time.

    Where the largest network within the limits would have only a few epochs, a smaller one ends
    better. Without limits, it is the time alone that says how large networks may be.

    Args:
        limits: Limits on counted costs.
        data: The data.
        recipe: How networks are trained.
        device: Where they are trained.
        seconds: Seconds for training.
        choose_threads: Whether the number of threads may be changed to what is faster.

    Raises:
        InfeasibleError: No standard design is within the limits.
    """
    options = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    epochs = planned_epochs(dataclasses.replace(recipe, epochs=None, steps=_STEPS), data)
    allowed = limits.get("macs", Limit()) if limits else _MACS
    wanted = dict(limits) or {"macs": _FIRST_GUESS}
    found: Sized | None = None
    while True:
        space = cast(EdgeSpace, create_space("edge", **options, limits=limit_texts(wanted)))
        try:
            design = next(standard_designs(space, wanted, others=found is None))
        except InfeasibleError:
            if found is None:
                raise
            return found  # none is as small as that
        each = trial_epoch(
            space, design, data, recipe, device, choose_threads=choose_threads and found is None
        )
        macs = count_network(space.build(design), data.input_shape)["macs"]
        best = min(max(macs * seconds / (epochs * each), allowed.lower, _FEWEST), allowed.upper)
        near = _SIZED * macs <= best and (limits or best <= macs / _SIZED)
        if found is not None or near:
            return Sized(space, wanted, design, each)
        found = Sized(space, wanted, design, each)
        lower = allowed.lower if limits else -math.inf
        wanted = {**wanted, "macs": Limit(lower, float(f"{best:.2g}"))}


def standard_designs(
    space: EdgeSpace,
    limits: Mapping[str, Limit],
    latency: TimedLimits | None = None,
    *,
    others: bool = True,
) -> Iterator[Architecture]:
    """Yield the standard designs within limits, the best at equal seconds first.

    Args:
        space: The space.
        limits: Limits on counted costs.
        latency: A limit on milliseconds; None for none.
        others: Whether another network of the space is yielded if no design is within the limits.

    Raises:
        InfeasibleError: No design is within the limits, nor any other network.
    """
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
    if not seen and others:
        yield any_within(space, limits, latency)
    elif not seen:
        raise reasons[0]


def trial_epoch(
    space: EdgeSpace,
    architecture: Architecture,
    data: Data,
    recipe: Recipe,
    device: str,
    *,
    choose_threads: bool,
) -> float:
    """Return the seconds of an epoch, if asked by the better of all threads and one; it stays set.

    Beside other busy programs several threads wait for each other and are many times slower.
    """
    with seeded(0):
        network = space.build(architecture)
    found = {}
    for number in {torch.get_num_threads(), *((1,) if choose_threads else ())}:
        torch.set_num_threads(number)
        found[number] = epoch_seconds(network, data, recipe, device)
    best = min(found, key=lambda number: found[number])
    torch.set_num_threads(best)
    return found[best]


def limit_texts(limits: Mapping[str, Limit]) -> dict[str, str]:
    """Return limits as text, as plans and options of a space have them."""
    return {name: str(limit) for name, limit in limits.items()}
