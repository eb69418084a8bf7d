"""Random search: the baseline that every strategy has to beat."""

from __future__ import annotations

from ddpnas.architecture import DecisionSpace
from ddpnas.strategies.base import Base
from ddpnas.strategies.legal import Indices

__all__ = ["RandomSearch"]


class RandomSearch(Base):
    """Architectures drawn uniformly, independently of each other.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: how many scores it asks for.
    """

    def __init__(self, space: DecisionSpace, seed: int = 0, *, evaluations: int = 100) -> None:
        super().__init__(space, seed, evaluations)

    def _propose(self) -> list[Indices]:
        return [self._legal.uniform(self._rng)]
