"""Strategies that learn theta from samples, and pruning as a layer around all of them.

Without pruning, a batch is drawn from theta and the update moves theta. With ``pruning=True``
the batch is one fair cycle over the survivors, the update is the same, and after every
``cycles_per_stage`` cycles the least likely survivor of each decision is pruned: the wrapper of
the authors' public code around SNG, ASNG and MIGO.

theta is a matrix here, decisions x options, rows padded with zeros. The updates see survivors
only: what was pruned keeps the probability that it had, and its row's survivors share the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import BaseStrategy, recommend
from ddpnas.strategies.legal import Indices

__all__ = ["Learned", "one_hot", "rank_utilities"]

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Learned(BaseStrategy, ABC):
    """Batches from theta, or fair cycles with pruning; families implement :meth:`_update`.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: how many scores it asks for; with pruning, the schedule decides instead.
        batch: architectures drawn from theta for one update.
        pruning: fair cycles and stage-wise pruning.
        cycles_per_stage: T, cycles between two prunings.
    """

    def __init__(
        self,
        space: DecisionSpace,
        seed: int,
        evaluations: int,
        batch: int,
        pruning: bool,
        cycles_per_stage: int,
    ) -> None:
        super().__init__(space, seed, None if pruning else evaluations)
        if batch < 1 or cycles_per_stage < 1:
            raise OptionError("batch and cycles_per_stage are at least 1")
        self.batch, self.pruning, self.cycles_per_stage = batch, pruning, cycles_per_stage
        width = max(self._sizes)
        self._exists = np.arange(width) < np.array(self._sizes)[:, None]
        self._theta: Matrix = self._exists / np.array(self._sizes, dtype=float)[:, None]
        self._alive: Mask = self._exists.copy()
        self._cycles = 0  # told in this stage

    @property
    def done(self) -> bool:
        """Whether all evaluations are told or, with pruning, one survivor is left everywhere."""
        return bool(self.history) and self._longest == 1 if self.pruning else super().done

    @property
    def evaluations(self) -> int:
        """How many scores the search asks for; with pruning and rules, an estimate."""
        if not self.pruning:
            return super().evaluations
        cycles = self.cycles_per_stage * sum(range(2, self._longest + 1))
        return max(1, len(self.history) + max(0, cycles - self._cycles * self._longest))

    @property
    def _longest(self) -> int:
        return int(self._alive.sum(axis=1).max())

    @property
    def distribution(self) -> JointDistribution:
        """Theta and the survivors."""
        return JointDistribution(
            self.space.decisions,
            tuple(row[:k].copy() for row, k in zip(self._theta, self._sizes, strict=True)),
            tuple(row[:k].copy() for row, k in zip(self._alive, self._sizes, strict=True)),
        )

    @property
    def architecture(self) -> Architecture:
        """The most likely architecture that obeys all rules."""
        return recommend(self.distribution, self.space)

    def propose(self) -> list[Indices]:
        """Return a batch drawn from theta; with pruning, a fair cycle."""
        distribution = self.distribution
        if self.pruning:
            return self.legal.fair_cycle(distribution, self.rng)
        return [self.legal.draw(self._theta, distribution, self.rng) for _ in range(self.batch)]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Update theta; with pruning, prune after the last cycle of a stage."""
        alive_mass = (self._theta * self._alive).sum(axis=1, keepdims=True)
        p = self._theta * self._alive / alive_mass
        p = self._update(p, np.array(architectures), np.array(scores))
        self._theta = np.where(self._alive, p * alive_mass, self._theta)
        if self.pruning:
            self._cycles += 1
            if self._cycles == self.cycles_per_stage:
                learned = self.distribution
                pruned = learned.prune(1, self.rng, spare=self.legal.spared(learned))
                for row, alive in zip(self._alive, pruned.alive, strict=True):
                    row[: len(alive)] = alive
                self._cycles = 0
                self.stage += 1

    @abstractmethod
    def _update(self, p: Matrix, architectures: npt.NDArray[np.int64], scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors.

        Args:
            p: decisions x options, 0 where pruned, rows sum to 1.
            architectures: of the batch, each a row of option indices.
            scores: one each.
        """

    def _floored(self, p: Matrix) -> Matrix:
        """Return p with every survivor at least as likely as 1 / (d (k - 1)), rows of sum 1.

        The lower bound of Akimoto et al. and Shirakawa et al., not above half of uniform.
        """
        k = self._alive.sum(axis=1, keepdims=True)
        floor = np.minimum(1.0 / (len(p) * np.maximum(k - 1, 1)), 0.5 / k) * self._alive
        above = np.where(self._alive, np.maximum(p, floor) - floor, 0.0)
        total = above.sum(axis=1, keepdims=True)
        room = 1.0 - floor.sum(axis=1, keepdims=True)
        share = np.where(total > 0, above / np.where(total > 0, total, 1.0), self._alive / k)
        return np.asarray(floor + room * share)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "theta": self._theta.tolist(),
            "alive": self._alive.tolist(),
            "cycles": self._cycles,
            "update": {name: np.asarray(getattr(self, name)).tolist() for name in self._memory},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._theta = np.array(state["theta"])
        self._alive = np.array(state["alive"])
        self._cycles = state["cycles"]
        for name in self._memory:
            value = state["update"][name]
            setattr(self, name, np.array(value) if isinstance(value, list) else value)

    _memory: Sequence[str] = ()  # names of what the update remembers: arrays and numbers


def one_hot(architectures: npt.NDArray[np.int64], width: int) -> Matrix:
    """Return architectures x decisions x options, 1 where chosen."""
    return np.asarray(architectures[:, :, None] == np.arange(width), dtype=np.float64)


def rank_utilities(scores: Matrix) -> Matrix:
    """Return +1/m for the best quarter, -1/m for the worst, m their size; ties share evenly.

    Of two scores the better gets 1 and the worse -1; equal scores get 0.
    """
    n = len(scores)
    m = -(-n // 4)
    by_rank = np.zeros(n)
    if n > 1:
        by_rank[:m], by_rank[n - m :] = -1.0 / m, 1.0 / m
    _, group = np.unique(scores, return_inverse=True)
    sums = np.bincount(group, weights=by_rank[_ranks(scores)])
    return np.asarray((sums / np.bincount(group))[group])


def _ranks(scores: Matrix) -> npt.NDArray[np.intp]:
    ranks = np.empty(len(scores), dtype=np.intp)
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return ranks
