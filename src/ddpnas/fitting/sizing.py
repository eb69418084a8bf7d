"""How large the networks of a fit are: as large as the limits and the time allow."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import cast

from ddpnas.costs.network import count_architecture
from ddpnas.data.data import Data
from ddpnas.errors import InfeasibleError
from ddpnas.fitting.designs import any_within
from ddpnas.fitting.speed import epoch_seconds_by_threads
from ddpnas.fitting.timed import LATENCY, TimedLimits
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import DESIGNS, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.protections import planned_epochs, trained_items
from ddpnas.training.recipes import Recipe
from ddpnas.utils.seeds import seeded

__all__ = ["Sized", "limit_texts", "sized", "standard_designs", "trial_epoch"]

# Steps of training that a network should have in the time; with fewer, a smaller one is better.
_STEPS = 1500
_MOST_TAUGHT = 0.9  # of the time; then a smaller network is no better
_SIZED = 0.8  # of the multiply-adds that have these steps is near enough
_FIRST_GUESS = Limit(upper=4e6)  # multiply-adds of the first network, without a tight limit
_TIMED = 3  # times that a network is sized by milliseconds, part of which are the same for all
_LARGE = 16e6  # multiply-adds from which on a network is not tried before a smaller one
_MACS = Limit(2e5, 4e9)  # range of the multiply-adds without a limit
_FEWEST = 1e4  # multiply-adds: hardly a network


@dataclasses.dataclass(frozen=True)
class Sized:
    """A space for the limits and the time.

    Attributes:
        space: The space.
        limits: Limits on counted costs that it is sized for: those of the fit, or tighter ones.
        design: The first standard design within them.
        macs: Its multiply-adds.
        each: Seconds of an epoch of that design.
    """

    space: EdgeSpace
    limits: dict[str, Limit]
    design: Architecture
    macs: int
    each: float = math.inf


def sized(
    limits: Mapping[str, Limit],
    data: Data,
    recipe: Recipe,
    device: str,
    seconds: float,
    *,
    timed: Mapping[str, Limit],
    teaching: float,
    choose_threads: bool,
) -> Sized:
    """Return the space of the largest networks that have enough steps of training in the time.

    Where the largest network within the limits would have only a few epochs, a smaller one ends
    better. Without limits, it is the time alone that says how large networks may be. Where they are
    limited in milliseconds, each network that is tried is timed, too.

    Args:
        limits: Limits on counted costs.
        data: The data.
        recipe: How networks are trained.
        device: Where they are trained.
        seconds: Seconds for training.
        timed: Limit on milliseconds; empty for none.
        teaching: Seconds that a teacher takes for an image of the final training.
        choose_threads: Whether the number of threads may be changed to what is faster.

    Raises:
        InfeasibleError: No standard design is within the limits on counted costs.
    """
    epochs = planned_epochs(dataclasses.replace(recipe, epochs=None, steps=_STEPS), data)
    seconds -= min(_MOST_TAUGHT * seconds, epochs * trained_items(data, recipe) * teaching)
    allowed = limits.get("macs", Limit()) if limits else _MACS
    wanted = dict(limits) or {"macs": _FIRST_GUESS}

    def tried(one: Sized, *, threads: bool) -> Sized:
        each = trial_epoch(one.space, one.design, data, recipe, device, choose_threads=threads)
        return dataclasses.replace(one, each=each)

    def affordable(one: Sized) -> float:
        """Return the multiply-adds that one may have, by the pace of a network that was tried."""
        share = seconds / (epochs * one.each)
        if timed:
            took = TimedLimits(one.space, timed).milliseconds(one.design)
            share = max(min(share, timed[LATENCY].upper / took), timed[LATENCY].lower / took)
        least = allowed.lower / _SIZED  # or there may be no design between both ends
        return min(max(share * one.macs, least, _FEWEST), allowed.upper)

    def at_most(macs: float) -> dict[str, Limit]:
        lower = allowed.lower if limits else -math.inf
        rounded = min(max(float(f"{macs:.2g}"), lower), allowed.upper)
        return {**wanted, "macs": Limit(lower, rounded)}

    first, guessed = _designed(data, wanted), not limits
    if limits and first.macs > _LARGE:  # a trial of it may take longer than there is time
        guess = tried(_designed(data, {"macs": _FIRST_GUESS}), threads=choose_threads)
        guessed, choose_threads = True, False
        # None may be as small as there is time for, because of the images or of another limit.
        for macs in (affordable(guess), _FIRST_GUESS.upper):
            if _SIZED * first.macs > macs:
                with contextlib.suppress(InfeasibleError):
                    first = _designed(data, at_most(macs), others=False)
                    break
        if first.macs * guess.each > seconds * guess.macs:
            return dataclasses.replace(first, each=first.macs * guess.each / guess.macs)
    found = tried(first, threads=choose_threads)
    for _ in range(_TIMED if timed else 1):
        best = affordable(found)
        if _SIZED * found.macs <= best and (not guessed or best <= found.macs / _SIZED):
            break
        try:
            other = _designed(data, at_most(best), others=False)
        except InfeasibleError:  # none is as small as that
            break
        found = tried(other, threads=False)
    return found


def _designed(data: Data, limits: dict[str, Limit], *, others: bool = True) -> Sized:
    """Return the space for limits with the first standard design within them, not tried yet."""
    options = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    space = cast(EdgeSpace, create_space("edge", **options, limits=limit_texts(limits)))
    design = next(standard_designs(space, limits, others=others))
    return Sized(space, limits, design, count_architecture(space, design)["macs"])


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
            one = latency.design(name, limits) if latency else space.scaled(name, dict(limits))
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
    """Return the seconds of an epoch of an architecture, see :func:`epoch_seconds_by_threads`."""
    with seeded(0):
        network = space.build(architecture)
    return epoch_seconds_by_threads(network, data, recipe, device, choose=choose_threads)


def limit_texts(limits: Mapping[str, Limit]) -> dict[str, str]:
    """Return limits as text, as plans and options of a space have them."""
    return {name: str(limit) for name, limit in limits.items()}
