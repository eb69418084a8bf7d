"""Promises of every strategy, checked step by step: for contract tests and for a user's strategy.

:class:`ddpnas.testing.StrategyContract` checks them through whole searches. A search with a
strategy from a user's file checks one batch of it before anything is written.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

from ddpnas.errors import DdpnasError
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import Strategy

__all__ = ["BrokenPromiseError", "hand_over", "made_up_score", "next_batch", "tell_batch"]


class BrokenPromiseError(DdpnasError):
    """A strategy does not keep what :class:`ddpnas.strategies.Strategy` promises."""


def made_up_score(architecture: Architecture) -> float:
    """Return a score in [0, 1) that looks random and is always the same."""
    return zlib.crc32(repr(sorted(architecture.items())).encode()) / 2**32


def next_batch(strategy: Strategy) -> list[Architecture]:
    """Return what a strategy asks for now; nothing where it is done."""
    return [] if strategy.done else list(strategy.ask())


def tell_batch(
    strategy: Strategy,
    space: DecisionSpace,
    score: Callable[[Architecture], float] = made_up_score,
) -> list[tuple[Architecture, float]]:
    """Score one batch of a strategy and check what it says afterwards.

    Args:
        strategy: A strategy that is not done.
        space: The space that it searches.
        score: Returns the score of an architecture.

    Returns:
        The architectures of the batch with their scores.

    Raises:
        BrokenPromiseError: It asks for nothing, or its distribution is none.
        ArchitectureError: It asks for or recommends what is not in the space.
    """
    batch = next_batch(strategy)
    if not batch:
        raise BrokenPromiseError("it asks for no architecture")
    for architecture in batch:
        space.encode(architecture)
    scores = [score(architecture) for architecture in batch]
    strategy.tell(batch, scores)
    space.encode(strategy.architecture)
    if not isinstance(strategy.distribution, JointDistribution):
        raise BrokenPromiseError("its distribution is not a JointDistribution")
    return list(zip(batch, scores, strict=True))


def hand_over(first: Strategy, second: Strategy) -> None:
    """Load the state of one strategy into another, as a run folder does, and compare their asks.

    Args:
        first: A strategy at any point between two batches.
        second: One made with the same arguments, which takes the state of the first.

    Raises:
        BrokenPromiseError: The state is not plain data, or the second asks for something else.
    """
    try:
        kept = [first.state_dict(), first.evaluations, first.stage]  # all that a run keeps
        text = json.dumps(kept)
    except (TypeError, ValueError) as reason:
        raise BrokenPromiseError(f"its state is not plain data: {reason}") from reason
    second.load_state_dict(json.loads(text)[0])
    if next_batch(first) != next_batch(second):
        raise BrokenPromiseError("restored from its state, it does not ask for the same again")
