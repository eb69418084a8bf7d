"""draw_candidates(): networks for a race whose limits no cost tables of the strategy can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace

__all__ = ["Entry", "draw_candidates"]

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
    prior: Mapping[str, Mapping[str, float]],
    pace: Mapping[str, float],
    number: int,
    seed: int,
) -> list[Architecture]:
    """Return candidates, those of many draws that train the fastest.

    Args:
        space: The space.
        entry: Which networks may race.
        costs: Counted costs.
        prior: Decision -> option -> weight in draws.
        pace: Seconds of an epoch by counted cost, see :class:`ddpnas.costs.pace.Pace`.
        number: Number of candidates; fewer where there are not so many.
        seed: Seed for the draws.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[Architecture, float] = {}
    for _ in range(_POOL * number):
        one = next(filter(entry.fits, _draws(space, prior, rng)), None) or entry.instead(rng)
        if one is None:
            break  # the next tries would find none either
        seconds = Pace(pace).of({name: table.cost(one) for name, table in costs.items()})
        drawn[space.canonical(one)] = seconds
    return sorted(drawn, key=lambda one: drawn[one])[:number]


def _draws(
    space: EdgeSpace, prior: Mapping[str, Mapping[str, float]], rng: np.random.Generator
) -> Iterator[Architecture]:
    rows: list[tuple[str, Sequence[str], Any]] = []
    for decision in space.decisions:
        given = prior.get(decision.name, {})
        weights = np.array([given.get(option, 1.0) for option in decision.options])
        rows.append((decision.name, decision.options, weights / weights.sum()))
    for _ in range(_TRIES):
        yield Architecture({name: str(rng.choice(options, p=p)) for name, options, p in rows})
