"""DDPNAS as published: dynamic distribution pruning (Zheng et al., IJCV 2023, arXiv 1905.13543).

This file says when to prune and how scores move theta. The draw of a fair cycle and the pruning of
a row are in :mod:`ddpnas.space.distribution`; asking and telling, as for all strategies, in
:mod:`ddpnas.strategies.base`. One *cycle* scores k architectures in which each of the k survivors
of every decision occurs once. T cycles make a *stage*. At its end the scores become an estimate of
how good each choice is, the estimate moves theta, and the least likely survivor of
every decision is pruned. With K options a decision, pruning down to one costs

    T * (K (K + 1) / 2 - 1)

scores: 42 for (K, T) = (5, 3), 81 for (7, 3), 105 for (8, 3), whatever the number of decisions.

Two update rules of the authors' public code are offered; which of them the paper's text means is
not known to us:

* ``decay``:     theta <- E + 0.5 theta (first version; here normalized)
* ``momentum``:  v <- g v + (1 - g) E;  theta <- theta + v, normalized (later versions)

with E = mean over the cycles of softmax(score / temperature) over the survivors. The authors
multiply accuracies (as fractions) by 100, a temperature of 0.01. Departures from their code,
which restate its evident intent: the score goes to the architecture that was trained, higher is
better, decisions may have different numbers of options, ties are broken at random, and a pruned
option is neither sampled nor decoded again. ``rule="paper"`` is "momentum". Where rules of the
space bind the search, the options of the likeliest architecture that obeys them stay.

With ``keep_rule="conv"`` every decision keeps its best convolution and its best other option, as
in one of the authors' versions, so that pruning stops at two survivors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from ddpnas.errors import RunError
from ddpnas.space.decisions import Architecture, Decision, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import BaseStrategy, StateForm, recommend, restored_array
from ddpnas.strategies.legal import Choices, Indices
from ddpnas.strategies.schedule import Cycles, PruningSchedule
from ddpnas.utils.settings import Count, Momentum, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["DDPNASPaper", "choice_means", "survivor_softmax"]

Row = npt.NDArray[np.float64]

_FINE_TEMPERATURE = 0.1  # below it, noise decides between scores that are no accuracies


class DDPNASPaper(BaseStrategy):
    """DDPNAS as published: theta follows the mean scores of a stage, then every decision is pruned.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        rule: How theta follows the scores of a stage: "paper", which is "momentum", or "decay".
        cycles_per_stage: T, cycles between two prunings.
        keep: Survivors of each decision at which pruning stops.
        keep_rule: "any", or "conv": the last of the options whose name contains "conv" and the
            last of the others are never pruned.
        temperature: Temperature of the softmax over accuracies as fractions. 0.01 makes one
            percentage point a factor e.
        momentum: g of the rule "momentum" (the authors: 0.8, later 0.9).
        decay: Factor of the old theta in the rule "decay".

    Raises:
        OptionError: An option is unknown or out of range.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = DDPNASPaper(space)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> len(strategy.history), strategy.architecture["block1"]
        (15, 'conv')
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        rule: Literal["paper", "momentum", "decay"] = "paper",
        cycles_per_stage: Cycles = 3,
        keep: Count = 1,
        keep_rule: Literal["any", "conv"] = "any",
        temperature: Annotated[float, Range(1e-6, 1_000_000)] = 0.01,
        momentum: Momentum = 0.8,
        decay: Momentum = 0.5,
    ) -> None:
        super().__init__(space, seed, None)
        self.rule, self.cycles_per_stage, self.keep = rule, cycles_per_stage, keep
        self.keep_rule = keep_rule
        self._groups = [_groups(d, keep_rule) for d in space.decisions]
        self.temperature, self.momentum, self.decay = temperature, momentum, decay
        self.expects_accuracies = temperature < _FINE_TEMPERATURE
        self._distribution = JointDistribution.uniform(space.decisions)
        self._velocity = [np.zeros_like(row) for row in self._distribution.rows]
        self._cycles: list[list[Row]] = []  # of this stage: choice_means of each cycle

    @property
    def distribution(self) -> JointDistribution:
        """Theta and the survivors."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """The most likely architecture made of survivors that obeys all rules."""
        return recommend(self._distribution, self.space)

    @property
    def _schedule(self) -> PruningSchedule:
        """The schedule from here; each group of options keeps a survivor, too."""
        stages = max(
            int(mask.sum()) - max(self.keep, len({group for group in groups if group is not None}))
            if int(mask.sum()) > self.keep
            else 0
            for mask, groups in zip(self._distribution.alive, self._groups, strict=True)
        )
        return PruningSchedule(self._distribution.max_survivors - stages, self.cycles_per_stage)

    def scores_left(self) -> int:
        """Return how many scores are still needed; an estimate where rules bind the search."""
        return self._schedule.scores_left(self._distribution.max_survivors, len(self._cycles))

    def propose(self) -> Choices:
        """Return one cycle; of it one architecture where nothing is to be pruned."""
        cycle = self.legal.fair_cycle(self._distribution, self.rng)
        return cycle if self.scores_left() else cycle[:1]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Learn a cycle's scores; the last cycle of a stage updates theta and prunes."""
        self._cycles.append(choice_means(self._distribution, architectures, scores))
        if len(self._cycles) == self.cycles_per_stage:
            self._end_stage()

    def _end_stage(self) -> None:
        rows = []
        for i, (theta, alive) in enumerate(
            zip(self._distribution.rows, self._distribution.alive, strict=True)
        ):
            estimate = np.mean(
                [survivor_softmax(cycle[i], alive, self.temperature) for cycle in self._cycles],
                axis=0,
            )
            if self.rule == "decay":
                rows.append(estimate + self.decay * theta)
            else:
                self._velocity[i] = (
                    self.momentum * self._velocity[i] + (1 - self.momentum) * estimate
                )
                rows.append(theta + self._velocity[i])
        learned = self._distribution.with_rows(rows)
        self._distribution = learned.prune(
            self.keep, self.rng, self._groups, self.legal.protected_options(learned)
        )
        self._cycles = []
        self.stage += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "distribution": self._distribution.to_dict(),
            "velocity": [v.tolist() for v in self._velocity],
            "cycles": [[row.tolist() for row in cycle] for cycle in self._cycles],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = self.restored_distribution(state["distribution"])
        self._velocity = self._rows(state["velocity"], "velocity")
        self._cycles = [self._rows(cycle, "cycles") for cycle in state["cycles"]]

    def _rows(self, given: Any, name: str) -> list[Row]:
        """Return a number for each option of each decision."""
        like = [np.zeros(size) for size in self._sizes]
        if len(given) != len(like):
            raise RunError(f"cannot use the state of the strategy: {name} has other decisions")
        return [restored_array(row, zeros, name) for row, zeros in zip(given, like, strict=True)]


class _Form(StateForm):
    distribution: dict[str, Any]
    velocity: list[Any]
    cycles: list[list[Any]]


DDPNASPaper.state_form = _Form


def _groups(decision: Decision, keep_rule: str) -> tuple[str | None, ...]:
    """Return the group of each option of which one has to survive; None: no such group."""
    if keep_rule == "any":
        return (None,) * len(decision.options)
    return tuple("conv" if "conv" in option else "other" for option in decision.options)


def choice_means(
    distribution: JointDistribution, architectures: Sequence[Indices], scores: Sequence[float]
) -> list[Row]:
    """Return the mean score of each option of each decision (NaN where it did not occur)."""
    means = []
    for decision, chosen in zip(distribution.decisions, np.array(architectures).T, strict=True):
        n = len(decision.options)
        count = np.bincount(chosen, minlength=n)
        total = np.bincount(chosen, weights=scores, minlength=n)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return means


def survivor_softmax(scores: Row, alive: npt.NDArray[np.bool_], temperature: float) -> Row:
    """Return softmax(scores / temperature) over the survivors, 0 for what was pruned.

    A survivor with NaN did not occur, because no architecture of survivors that the rules allow
    contains it: it gets 0, so that it is pruned first.
    """
    result = np.zeros_like(scores)
    logits = np.where(np.isnan(scores[alive]), -np.inf, scores[alive]) / temperature
    weights = np.exp(logits - logits.max())
    result[alive] = weights / weights.sum()
    return result
