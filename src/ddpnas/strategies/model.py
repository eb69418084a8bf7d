"""DDPNAS with fitted effects: fair cycles, pruning of stated risk, then what the fit ranks best.

Theta comes from a Bayesian fit of the effects of choices to all scores so far
(:mod:`ddpnas.strategies.effects`) instead of the means of one stage. Then,

* without a budget, the schedule is the paper's: T cycles a stage, after each the least likely
  survivor of every decision is pruned, T (K (K + 1) / 2 - 1) scores in all;
* with a budget, ``evaluations``, fair cycles take a share of it. An option is pruned once the
  probability that the best architecture contains it is at most ``max_risk``; where no option is
  that bad, nothing is pruned. The rest is spent inside the surviving space on the architectures
  of the largest expected improvement.

The risk of an option is the share of draws from the posterior whose best architecture contains
it, among all that differ by one choice from those ranked best; one is added to the count, so that
it is never 0. The probability that anything of the best architecture is pruned is at most the sum
of the risks taken, however they depend on each other (the union bound); ``risk`` is that sum.
This holds as far as the posterior and the architectures considered are right, and on tables they
were found too sure of themselves: the best architecture is lost more often than stated, although
what is found instead is as good (see ``records/strategies.md``). The bound is ours, not the
paper's.

Theta of an option is the softmax, over its decision, of the fitted score (in normal scores, at
temperature 0.1) averaged over the contexts ranked best, so that the log-likelihood which
:func:`ddpnas.generate` maximises within limits is the additive part of the fit around the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky
from scipy.special import ndtr

from ddpnas.architecture import Architecture, DecisionSpace
from ddpnas.distribution import JointDistribution
from ddpnas.errors import OptionError
from ddpnas.strategies.base import Base, recommend
from ddpnas.strategies.effects import Effects, Prior, detrend, fit
from ddpnas.strategies.legal import Indices

__all__ = ["ModelDDPNAS", "best_option_shares", "expected_improvement"]

Matrix = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]

_CONTEXTS = 8  # architectures ranked best, whose one-choice variants are considered
_DRAWS = 511  # from the posterior, for the risk
_REFIT = 5  # proposals between two choices of the prior and between two prunings
_TEMPERATURE = 0.1  # of theta, in normal scores


class ModelDDPNAS(Base):
    """Fair cycles and pruning by fitted effects, then proposals within what survives.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: the budget; None is the paper's schedule.
        cycles_per_stage: T, cycles between two prunings of the schedule, and the fewest cycles
            before anything is pruned.
        max_risk: with a budget, the largest estimated probability of a wrong pruning, an option;
            0 prunes nothing.
        explore: share of a budget for fair cycles.
        keep: survivors of each decision at which the schedule's pruning stops.
    """

    def __init__(
        self,
        space: DecisionSpace,
        seed: int = 0,
        *,
        evaluations: int | None = None,
        cycles_per_stage: int = 3,
        max_risk: float = 0.002,
        explore: float = 1 / 3,
        keep: int = 1,
    ) -> None:
        if cycles_per_stage < 1 or keep < 1 or not 0 <= max_risk < 1 or not 0 < explore <= 1:
            raise OptionError(
                "cycles_per_stage and keep are at least 1, max_risk in [0, 1), explore in (0, 1]"
            )
        longest = max(len(d.options) for d in space.decisions)
        schedule = max(1, cycles_per_stage * sum(range(keep + 1, longest + 1)))
        super().__init__(space, seed, schedule if evaluations is None else evaluations)
        self.scheduled, self.keep = evaluations is None, keep
        self.cycles_per_stage, self.max_risk, self.explore = cycles_per_stage, max_risk, explore
        self.risk = 0.0
        self._cycles = 0  # told to the budget's search
        self._distribution = JointDistribution.uniform(space.decisions)
        self._prior: Prior | None = None

    @property
    def distribution(self) -> JointDistribution:
        """Theta and the survivors."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """Of what was scored, within the rules, the best mean of the score and its fit.

        Without such an architecture, or when the schedule has decided, the most likely survivor.
        """
        if self.history and not (self.scheduled and self.done):
            effects = self._fit()
            fitted = effects.mean(effects.choices) + detrend(effects.choices, self._scores())
            for at in np.argsort(-fitted, kind="stable").tolist():
                architecture = self.space.decode(self.history[at])
                if all(rule.holds(architecture) for rule in self.space.rules):
                    return architecture
        return recommend(self._distribution, self.space)

    def best(self, n: int) -> list[Architecture]:
        """Return the n architectures of survivors that the fit ranks best, best first.

        Among those that were scored and their neighbours; fewer where there are fewer.
        """
        around = dict.fromkeys(self.history)
        around |= dict.fromkeys(o for a in list(around) for o in self._legal.neighbours(a))
        alive = self._distribution.alive
        left = [o for o in around if all(m[i] for m, i in zip(alive, o, strict=True))]
        order = np.argsort(-self._fit().mean(np.array(left)), kind="stable")
        return [self.space.decode(left[at]) for at in order[:n].tolist()]

    def _propose(self) -> list[Indices]:
        if self.scheduled:
            cycles = range(self.cycles_per_stage)
            return [
                a for _ in cycles for a in self._legal.fair_cycle(self._distribution, self._rng)
            ]
        told = len(self.history)
        if told == 0 or told < self.explore * self._total:
            return self._legal.fair_cycle(self._distribution, self._rng)
        effects = self._fit()
        seen = set(self.history)
        contexts = self._best(effects, self.history)
        fresh: list[Indices] = []
        for _ in range(2):  # neighbours of the best, and of the best of these
            around = [other for c in contexts for other in self._legal.neighbours(c)]
            fresh = list(dict.fromkeys(fresh + [o for o in around if self._fresh(o, seen)]))
            if not fresh:
                return [self._legal.uniform(self._rng)]
            contexts = self._best(effects, fresh)
        pool = np.array(fresh)
        best = float(effects.mean(effects.choices).max())
        gain = expected_improvement(effects.mean(pool), effects.spread(pool), best)
        return [fresh[int(gain.argmax())]]

    def _fresh(self, indices: Indices, seen: set[Indices]) -> bool:
        alive = self._distribution.alive
        return indices not in seen and all(mask[i] for mask, i in zip(alive, indices, strict=True))

    def _best(self, effects: Effects, architectures: list[Indices]) -> list[Indices]:
        """Return the architectures that the fit ranks best, without repetition."""
        distinct = list(dict.fromkeys(architectures))
        order = np.argsort(-effects.mean(np.array(distinct)), kind="stable")
        return [distinct[i] for i in order[:_CONTEXTS].tolist()]

    def _scores(self) -> Matrix:
        return np.array(self.scores)

    def _fit(self) -> Effects:
        choices = np.array(self.history)
        z = detrend(choices, self._scores())
        return fit(choices, z) if self._prior is None else fit(choices, z, (self._prior,))

    def _learn(self, architectures: list[Indices], scores: list[float]) -> None:
        if len(architectures) == 1 and len(self.history) % _REFIT:
            return
        self._prior = None
        effects = self._fit()
        self._prior = effects.prior
        contexts = np.array(self._best(effects, self.history))
        rows = []
        for i, k in enumerate(self._sizes):
            variants = np.repeat(contexts, k, axis=0)
            variants[:, i] = np.tile(np.arange(k), len(contexts))
            logits = effects.mean(variants).reshape(len(contexts), k).mean(axis=0) / _TEMPERATURE
            rows.append(np.exp(logits - logits.max()))
        self._distribution = self._distribution.with_rows(rows)
        self._cycles += 1
        if self.scheduled:
            self._distribution = self._distribution.prune(self.keep, self._rng)
            self.stage += 1
        elif self._cycles >= self.cycles_per_stage and self.max_risk > 0:
            self._prune_by_risk(effects, contexts)

    def _prune_by_risk(self, effects: Effects, contexts: Choices) -> None:
        alive = [mask.copy() for mask in self._distribution.alive]
        before = sum(int(mask.sum()) for mask in alive)
        for i, risks in enumerate(best_option_shares(effects, contexts, alive)):
            for option in np.argsort(risks, kind="stable").tolist():
                if alive[i][option] and alive[i].sum() > 1 and risks[option] <= self.max_risk:
                    alive[i][option] = False
                    self.risk += float(risks[option])
        if sum(int(mask.sum()) for mask in alive) < before:
            rows, decisions = self._distribution.rows, self.space.decisions
            self._distribution = JointDistribution(decisions, rows, tuple(alive))
            self.stage += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        prior = self._prior
        return {
            **super().state_dict(),
            "distribution": self._distribution.to_dict(),
            "cycles": self._cycles,
            "risk": self.risk,
            "prior": None
            if prior is None
            else [prior.single, prior.pair, prior.interaction, prior.noise, prior.decay],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = JointDistribution.from_dict(state["distribution"])
        self._cycles, self.risk = state["cycles"], state["risk"]
        self._prior = None if state["prior"] is None else Prior(*state["prior"])


def expected_improvement(mean: Matrix, spread: Matrix, best: float) -> Matrix:
    """Return E[max(0, f - best)] of normal f with these means and standard deviations."""
    gap = (mean - best) / spread
    density = np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)
    return np.asarray(spread * (gap * ndtr(gap) + density))


def best_option_shares(
    effects: Effects, contexts: Choices, alive: list[npt.NDArray[np.bool_]]
) -> list[Matrix]:
    """Return for each option the probability that the best architecture contains it.

    Estimated by the share of posterior draws, with one added to each count, over the contexts
    and all that differ from one of them by one surviving choice.
    """
    variants = [contexts]
    for i, mask in enumerate(alive):
        for option in np.flatnonzero(mask):
            changed = contexts.copy()
            changed[:, i] = option
            variants.append(changed)
    pool = np.unique(np.concatenate(variants), axis=0)
    legal = [mask[pool[:, i]] for i, mask in enumerate(alive)]
    pool = pool[np.all(legal, axis=0)] if np.all(legal, axis=0).any() else pool
    covariance = effects.covariance(pool)
    covariance.flat[:: len(pool) + 1] += 1e-6 * max(1.0, float(covariance.max()))
    factor = cholesky(covariance, lower=True)
    normals = np.random.default_rng(0).standard_normal((len(pool), _DRAWS))
    winners = (effects.mean(pool)[:, None] + factor @ normals).argmax(axis=0)
    return [
        np.asarray((np.bincount(pool[winners, i], minlength=len(mask)) + 1.0) / (_DRAWS + 1.0))
        for i, mask in enumerate(alive)
    ]
