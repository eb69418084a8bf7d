"""Strategies that learn theta from samples, and pruning as a layer around all of them.

Without pruning, a batch is drawn from theta and the update moves theta. With ``pruning=True`` the
batch is one fair cycle over the survivors and the update is the same. After every
``cycles_per_stage`` cycles the least likely survivor of each decision is pruned. The authors'
public code wraps SNG, ASNG and MIGO in the same way.

Here theta is a matrix, decisions x options, with rows padded by zeros. Updates see survivors only.
A pruned option keeps its probability, and the survivors of its row share the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import BaseStrategy, StateForm, recommend, restored_array
from ddpnas.strategies.legal import Choices, Indices
from ddpnas.strategies.pruning import MovingPruning
from ddpnas.strategies.schedule import Cycles, PruningSchedule
from ddpnas.utils.read import Whole
from ddpnas.utils.settings import Count, Seed, checks_arguments

__all__ = ["Learned", "one_hot", "rank_utilities"]

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Learned(BaseStrategy, ABC):
    """Batches from theta, or fair cycles with pruning; families implement :meth:`update`.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Number of scores to ask for; with ``pruning``, the schedule decides instead.
        batch: Architectures drawn from theta for one update.
        pruning: True samples fair cycles and prunes after every stage. "threshold" draws batches
            from theta and prunes what falls below a rising bar, see
            :mod:`ddpnas.strategies.pruning`.
        layers: Remove layers that are likely skipped: decisions with the option "skip", and the
            last ones of decisions about a depth.
        cycles_per_stage: T, cycles between two prunings.
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count = 100,
        batch: Count = 1,
        pruning: Literal[False, True, "threshold"] = False,
        layers: bool = False,
        cycles_per_stage: Cycles = 3,
    ) -> None:
        super().__init__(space, seed, None if pruning is True else evaluations)
        self.batch, self.pruning = batch, pruning is True
        threshold = pruning == "threshold"
        self._rule = MovingPruning(space, threshold=threshold, layers=layers)
        self._moves = threshold or layers
        self.schedule = PruningSchedule(keep=1, cycles=cycles_per_stage)
        width = max(self._sizes)
        exists = np.arange(width) < np.array(self._sizes)[:, None]
        self._theta: Matrix = exists / np.array(self._sizes, dtype=float)[:, None]
        self._alive: Mask = exists
        self._cycles = 0  # told in this stage

    def scores_left(self) -> int:
        """Return how many scores are still needed; with pruning and rules, an estimate."""
        if not self.pruning:
            return super().scores_left()
        return self.schedule.scores_left(int(self._alive.sum(axis=1).max()), self._cycles)

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

    def propose(self) -> list[Indices] | Choices:
        """Return a batch drawn from theta; with pruning, a fair cycle."""
        distribution = self.distribution
        if self.pruning:
            return self.legal.fair_cycle(distribution, self.rng)
        return [self.legal.draw(self._theta, distribution, self.rng) for _ in range(self.batch)]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Update theta; with pruning, prune after the last cycle of a stage."""
        # Pruned options keep their probability; the update shares out what is left.
        alive_mass = (self._theta * self._alive).sum(axis=1, keepdims=True)
        p = self._theta * self._alive / alive_mass
        p = self.update(p, np.array(architectures), np.array(scores))
        self._theta = np.where(self._alive, p * alive_mass, self._theta)
        if self._moves:
            found = self.distribution
            time = len(self.history) / (len(self.history) + max(0, self.scores_left()))
            self._set_alive(self._rule(found, time, self.legal.protected_options(found)))
        if self.pruning:
            self._end_cycle()

    def _set_alive(self, pruned: JointDistribution) -> None:
        for row, alive in zip(self._alive, pruned.alive, strict=True):
            row[: len(alive)] = alive

    def _end_cycle(self) -> None:
        self._cycles += 1
        if self._cycles < self.schedule.cycles:
            return
        learned = self.distribution
        protected = self.legal.protected_options(learned)
        self._set_alive(learned.prune(self.schedule.keep, self.rng, protected=protected))
        self._cycles = 0
        self.stage += 1

    @abstractmethod
    def update(self, p: Matrix, choices: Choices, scores: Matrix) -> Matrix:
        """Return the new probabilities of the survivors.

        Args:
            p: (d, K) probabilities, 0 where pruned; rows sum to 1.
            choices: (n, d) option indices of the batch.
            scores: (n,) scores, higher is better.

        Returns:
            (d, K) probabilities like ``p``.
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
            "means": self._rule.state_dict(),
            "update": {name: np.asarray(getattr(self, name)).tolist() for name in self._memory},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._theta = restored_array(state["theta"], self._theta, "theta")
        self._alive = restored_array(state["alive"], self._alive, "alive")
        self._cycles = state["cycles"]
        self._rule.load_state_dict(state["means"])
        for name in self._memory:
            value = state["update"].get(name)
            setattr(self, name, restored_array(value, getattr(self, name), name))

    _memory: Sequence[str] = ()  # names of what the update remembers: arrays and numbers


class _Form(StateForm):
    theta: list[list[float]]
    alive: list[list[bool]]
    cycles: Whole
    means: list[Any]
    update: dict[str, Any]


Learned.state_form = _Form


def one_hot(choices: Choices, width: int) -> Matrix:
    """Return an array of architectures x decisions x options, 1 where chosen."""
    return np.asarray(choices[:, :, None] == np.arange(width), dtype=np.float64)


def rank_utilities(scores: Matrix) -> Matrix:
    """Return +1/m for the best quarter, -1/m for the worst, m their size; ties share evenly.

    Example:
        >>> rank_utilities(np.array([0.2, 0.9])), rank_utilities(np.array([0.5, 0.5]))
        (array([-1.,  1.]), array([0., 0.]))
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
