"""How large the networks of a fit are: as large as the limits and the time allow."""

from __future__ import annotations

import contextlib
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
_FIRST_GUESS = Limit(upper=4e6)  # multiply-adds of the first network, without a tight limit
_LARGE = 16e6  # multiply-adds from which on a network is not tried before a smaller one
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
    epochs = planned_epochs(dataclasses.replace(recipe, epochs=None, steps=_STEPS), data)
    allowed = limits.get("macs", Limit()) if limits else _MACS
    wanted = dict(limits) or {"macs": _FIRST_GUESS}

    def trial(one: _Designed, *, threads: bool) -> float:
        return trial_epoch(one.space, one.design, data, recipe, device, choose_threads=threads)

    def affordable(pace: float) -> float:
        """Return the multiply-adds that have enough steps at a pace: seconds for each of them."""
        return min(max(seconds / (epochs * pace), allowed.lower, _FEWEST), allowed.upper)

    def at_most(macs: float) -> dict[str, Limit]:
        lower = allowed.lower if limits else -math.inf
        rounded = min(max(float(f"{macs:.2g}"), lower), allowed.upper)
        return {**wanted, "macs": Limit(lower, rounded)}

    first, guessed = _designed(data, wanted), not limits
    if limits and first.macs > _LARGE:  # a trial of it may take longer than there is time
        guess, guessed = _designed(data, {"macs": _FIRST_GUESS}), True
        pace = trial(guess, threads=choose_threads) / guess.macs
        choose_threads = False
        # None may be as small as there is time for, because of the images or of another limit.
        for macs in (affordable(pace), _FIRST_GUESS.upper):
            if _SIZED * first.macs > macs:
                with contextlib.suppress(InfeasibleError):
                    first = _designed(data, at_most(macs), others=False)
                    break
        if first.macs * pace > seconds:
            return first.sized(first.macs * pace)
    each = trial(first, threads=choose_threads)
    best = affordable(each / first.macs)
    if _SIZED * first.macs <= best and (not guessed or best <= first.macs / _SIZED):
        return first.sized(each)
    try:
        second = _designed(data, at_most(best), others=False)
    except InfeasibleError:
        return first.sized(each)  # none is as small as that
    return second.sized(trial(second, threads=False))


@dataclasses.dataclass(frozen=True)
class _Designed:
    """The first standard design within limits, and the space for them."""

    space: EdgeSpace
    limits: dict[str, Limit]
    design: Architecture
    macs: int

    def sized(self, each: float) -> Sized:
        return Sized(self.space, self.limits, self.design, each)


def _designed(data: Data, limits: dict[str, Limit], *, others: bool = True) -> _Designed:
    options = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    space = cast(EdgeSpace, create_space("edge", **options, limits=limit_texts(limits)))
    design = next(standard_designs(space, limits, others=others))
    with torch.device("meta"):
        network = space.build(design)
    return _Designed(space, limits, design, count_network(network, data.input_shape)["macs"])


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
