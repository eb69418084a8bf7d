"""draw_candidates(): networks for a race whose limits no cost tables of the strategy can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace

__all__ = ["Entry", "draw_candidates", "draws", "prior_of"]

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
_TRIES = 2_000  # draws for a candidate
_POOL = 4  # candidates that are drawn for each that races, the fastest to train


class Entry(NamedTuple):
    """Which networks may race.

    Attributes:
        fits: Whether a network may race.
        instead: A network that may race if none is drawn; None if there is no other.
    """

    fits: Callable[[Architecture], bool]
    instead: Callable[[np.random.Generator], Architecture | None]


def draw_candidates(
    space: EdgeSpace,
    entry: Entry,
    costs: Mapping[str, CostTable],
    pace: Mapping[str, float],
    number: int,
    seed: int,
) -> list[Architecture]:
    """Return candidates, those of many draws that train the fastest.

    Args:
        space: The space.
        entry: Which networks may race.
        costs: Counted costs.
        pace: Seconds of an epoch by counted cost, see :class:`ddpnas.costs.pace.Pace`.
        number: Number of candidates; fewer where there are not so many.
        seed: Seed for the draws.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[Architecture, float] = {}
    for _ in range(_POOL * number):
        one = next(filter(entry.fits, draws(space, rng)), None) or entry.instead(rng)
        if one is None:
            break  # the next tries would find none either
        seconds = Pace(pace).of({name: table.cost(one) for name, table in costs.items()})
        drawn[space.canonical(one)] = seconds
    return sorted(drawn, key=lambda one: drawn[one])[:number]


def draws(space: EdgeSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    """Yield random networks, shallow and wide ones the most often.

    Args:
        space: The space.
        rng: Draws them.
    """
    prior = prior_of(space)
    rows: list[tuple[str, Sequence[str], Any]] = []
    for decision in space.decisions:
        given = prior.get(decision.name, {})
        weights = np.array([given.get(option, 1.0) for option in decision.options])
        rows.append((decision.name, decision.options, weights / weights.sum()))
    for _ in range(_TRIES):
        yield Architecture({name: str(rng.choice(options, p=p)) for name, options, p in rows})


def prior_of(space: EdgeSpace) -> dict[str, dict[str, float]]:
    """Return the weights of options in draws: decision -> option -> weight."""
    found = {}
    for decision in space.decisions:
        for end, weights in _PRIOR.items():
            if decision.name == end or (end[0] == "." and decision.name.endswith(end)):
                found[decision.name] = {o: weights.get(o, 1.0) for o in decision.options}
        if decision.name == "stem" or decision.name.endswith(".width"):
            found[decision.name] = {o: float(o) for o in decision.options}  # the wider, the better
    return found
