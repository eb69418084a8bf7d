"""DDPNAS with fitted effects: fair cycles, pruning of stated risk, then what the fit ranks best.

Theta comes from a Bayesian fit of the effects of choices to all scores so far
(:mod:`ddpnas.strategies._posterior`) instead of the means of one stage. Then,

* without a budget, the schedule is the paper's: T cycles a stage, after each the survivor of every
  decision that is least likely to be part of the best architecture (of the smallest risk, below) is
  pruned, T (K (K + 1) / 2 - 1) scores in all. With ``max_risk``, an
  option of a larger risk is not pruned yet: further cycles follow, at most ``patience`` times T a
  stage, after which it is pruned nevertheless;
* with a budget, ``evaluations``, fair cycles take a share of it, each drawn such that few pairs of
  choices come up again, which says more about pairs. The rest is spent inside the
  surviving space, one at a time, on the architecture of the largest expected improvement. With
  ``max_risk``, every option of at most that risk is pruned on the way; where no option is that
  bad, nothing is.

The risk of an option is the probability that the best architecture that survives has it
(:mod:`ddpnas.strategies._risk`); ``risk`` is the sum of those taken, which bounds the probability
that anything of the best architecture was pruned as far as the risks are right. Both are ours, not
the paper's.

Theta of an option is the softmax, over its decision, of the fitted score (in normal scores, at
temperature 0.1) averaged over the contexts ranked best, so that the log-likelihood which
:func:`ddpnas.generate` maximises within limits is the additive part of the fit around the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies._posterior import (
    Effects,
    Likeness,
    Prior,
    climb,
    detrend,
    fit,
    fits,
    normal_scores,
)
from ddpnas.strategies._risk import best_option_shares, variants
from ddpnas.strategies.base import BaseStrategy, recommend
from ddpnas.strategies.legal import Indices

__all__ = ["DDPNAS", "expected_improvement"]

Matrix = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_CONTEXTS = 8  # architectures ranked best, whose neighbours are considered
_CYCLES_DRAWN = 32  # of which the one that repeats the fewest pairs is taken
_REFIT = 5  # proposals between two choices of the prior, fewer of less than 40 scores
_JUDGE = 10  # proposals between two judgements of the risk
_TEMPERATURE = 0.1  # of theta, in normal scores


class DDPNAS(BaseStrategy):
    """DDPNAS with a fit of all scores: fair cycles, and pruning of the options least likely best.

    With a budget of ``evaluations``, proposals of the largest expected improvement follow.

    Args:
        space: decisions to search over.
        seed: of the strategy's own random generator.
        evaluations: the budget; None is the paper's schedule.
        cycles_per_stage: T, cycles between two prunings of the schedule, and the fewest cycles
            before anything is pruned.
        max_risk: the largest risk of a pruning, an option. On the schedule, None prunes whatever
            its risk. With a budget, None and 0 prune nothing.
        patience: on the schedule with ``max_risk``, how many times T the cycles of a stage may be.
        explore: share of a budget for fair cycles.
        keep: survivors of each decision at which the schedule's pruning stops.
    """

    def __init__(
        self,
        space: DecisionSpace,
        seed: int = 0,
        *,
        evaluations: int | None = None,
        cycles_per_stage: int = 10,
        max_risk: float | None = None,
        patience: int = 2,
        explore: float = 0.2,
        keep: int = 1,
    ) -> None:
        if min(cycles_per_stage, patience, keep) < 1 or not 0 < explore <= 1:
            raise OptionError(
                "cycles_per_stage, patience and keep are at least 1, and explore is in (0, 1]"
            )
        if max_risk is not None and not 0 <= max_risk < 1:
            raise OptionError(f"max_risk is in [0, 1), not {max_risk}")
        self.scheduled, self.keep = evaluations is None, keep
        self.cycles_per_stage, self.max_risk, self.explore = cycles_per_stage, max_risk, explore
        self.longest_stage = cycles_per_stage * (1 if max_risk is None else patience)
        super().__init__(space, seed, evaluations)
        sizes = self._sizes
        self.risk = 0.0
        self._cycles = 0  # told in this stage
        self._due = [k > keep for k in sizes]  # decisions that this stage has still to prune
        self._distribution = JointDistribution.uniform(space.decisions)
        self._plain = Likeness.of(space.decisions)
        self._alike: list[Matrix] = []  # effects of options, by which they are alike
        self._likeness = self._plain
        self._prior: Prior | None = None
        self._drifting = False
        self._fitted: Effects | None = None
        self._codes = [
            row.view(np.int64)
            for row in np.split(
                np.random.default_rng(0).integers(2**64, size=sum(sizes), dtype=np.uint64),
                np.cumsum(sizes)[:-1],
            )
        ]

    @property
    def done(self) -> bool:
        """Whether all evaluations are told or, on the schedule, all is pruned to ``keep``."""
        if not self.scheduled:
            return super().done
        return bool(self.history) and self._distribution.longest <= self.keep

    @property
    def evaluations(self) -> int:
        """How many scores the search asks for; where a pruning may be postponed, at most.

        On the schedule of a space with rules, the best estimate so far.
        """
        if not self.scheduled:
            return super().evaluations
        after = max(
            int(mask.sum()) - due
            for mask, due in zip(self._distribution.alive, self._due, strict=True)
        )
        longest = self._distribution.longest
        here = (self.longest_stage - self._cycles) * longest if longest > self.keep else 0
        left = here + self.longest_stage * sum(range(self.keep + 1, after + 1))
        return max(1, len(self.history) + left)

    @property
    def _cycles_asked(self) -> int:
        """All T of a stage together, so that they can be scored alike; then one at a time."""
        return max(1, self.cycles_per_stage - self._cycles)

    @property
    def distribution(self) -> JointDistribution:
        """Theta and the survivors."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """Of what was scored, within the rules, the best mean of the score and its fit.

        Without such an architecture, or when the schedule has decided, the most likely survivor.
        """
        if self.history and not (self.scheduled and self._distribution.longest == 1):
            effects = self._fit()
            for at in np.argsort(-(effects.fitted + self._z()), kind="stable").tolist():
                architecture = self.space.decode(self.history[at])
                if all(rule.holds(architecture) for rule in self.space.rules):
                    return architecture
        return recommend(self._distribution, self.space)

    def best(self, n: int) -> list[Architecture]:
        """Return the n architectures of survivors that the fit ranks best, best first.

        Among those that were scored and their neighbours, within the rules for final ones;
        fewer where there are fewer.
        """
        effects, alive = self._fit(), self._distribution.alive
        pool = np.unique(variants(self._alive_only(effects.choices), alive), axis=0)
        found: list[Architecture] = []
        for at in np.argsort(-effects.mean(pool), kind="stable").tolist():
            architecture = self.space.decode(tuple(pool[at].tolist()))
            if all(rule.holds(architecture) for rule in self.space.rules):
                found.append(architecture)
            if len(found) == n:
                break
        return found

    def propose(self) -> list[Indices]:
        """Return a stage of fair cycles; with a budget, a cycle or the best proposal."""
        if self.scheduled and self._distribution.longest <= self.keep:  # nothing to decide
            return self.legal.fair_cycle(self._distribution, self.rng)[:1]
        if self.scheduled:
            return [
                architecture
                for _ in range(self._cycles_asked)
                for architecture in self.legal.fair_cycle(self._distribution, self.rng)
            ]
        told = len(self.history)
        if told == 0 or told < self.explore * self.evaluations:
            return self._spread_cycle()
        effects, alive = self._fit(), self._distribution.alive
        contexts = self._best(effects, self._alive_only(effects.choices))
        pool = self._fresh(np.concatenate([contexts, variants(contexts, alive)]))
        if len(pool):
            beyond = variants(self._best(effects, pool), alive)
            pool = self._fresh(np.concatenate([pool, beyond]))
        if not len(pool):
            return [self._any_survivor()]
        gain = expected_improvement(*effects.mean_and_spread(pool), float(effects.fitted.max()))
        return [tuple(pool[int(gain.argmax())].tolist())]

    def _spread_cycle(self) -> list[Indices]:
        """Return, of some fair cycles, the one that repeats the fewest pairs of choices."""
        drawn = [self.legal.fair_cycle(self._distribution, self.rng) for _ in range(_CYCLES_DRAWN)]
        seen = np.array(self.history, dtype=np.int64).reshape(-1, len(self._sizes))

        def repeated(cycle: list[Indices]) -> int:
            own = np.array(cycle)
            compared = self._plain.compare(own, np.concatenate([seen, own]))
            return int(compared.pairs.sum())

        return min(drawn, key=repeated)

    def _best(self, effects: Effects, architectures: Choices) -> Choices:
        """Return the architectures that the fit ranks best, without repetition."""
        _, first = np.unique(self._code(architectures), return_index=True)
        distinct = architectures[np.sort(first)]
        order = np.argsort(-effects.mean(distinct), kind="stable")
        return np.asarray(distinct[order[:_CONTEXTS]])

    def _fresh(self, pool: Choices) -> Choices:
        """Return what was not scored yet and obeys the rules, without repetition."""
        codes, first = np.unique(self._code(pool), return_index=True)
        pool = pool[first[~np.isin(codes, self._code(np.array(self.history)))]]
        return pool[self._holds(pool)] if self.legal.rules else pool

    def _any_survivor(self) -> Indices:
        theta = np.zeros((len(self._sizes), max(self._sizes)))
        for row, mask in zip(theta, self._distribution.alive, strict=True):
            row[: len(mask)] = mask / mask.sum()
        return self.legal.draw(theta, self._distribution, self.rng)

    def _alive_only(self, choices: Choices) -> Choices:
        """Return the architectures with what was pruned replaced by the likeliest survivor."""
        result = choices.copy()
        distribution = self._distribution
        for i, (row, mask) in enumerate(zip(distribution.rows, distribution.alive, strict=True)):
            likeliest = int(np.where(mask, row, -1.0).argmax())
            result[:, i] = np.where(mask[choices[:, i]], choices[:, i], likeliest)
        return result

    def _holds(self, pool: Choices) -> Mask:
        return np.array([self.legal.holds(row) for row in pool.tolist()], dtype=np.bool_)

    def _code(self, choices: Choices) -> npt.NDArray[np.int64]:
        """Return a number for each architecture; different ones collide once in 2^64."""
        total = np.zeros(len(choices), dtype=np.int64)
        for numbers, column in zip(self._codes, choices.T, strict=True):
            total += numbers[column]
        return total

    def _z(self) -> Matrix:
        scores = np.array(self.scores)
        if not self._drifting:
            return normal_scores(scores)
        return detrend(self._plain, np.array(self.history), scores)[0]

    def _fit(self) -> Effects:
        if self._fitted is None:
            choices = np.array(self.history)
            if self._prior is None:
                self._fitted = climb(self._likeness, choices, self._z(), None)
            else:
                self._fitted = fit(self._likeness, choices, self._z(), self._prior)
        return self._fitted

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Fit all scores again, move theta, and prune what is due."""
        self._fitted = None
        n = len(self.history)
        if len(architectures) == 1 and n % min(_REFIT, max(1, n // 8)) and not self.done:
            return
        choices = np.array(self.history)
        z, self._drifting = detrend(self._plain, choices, np.array(self.scores))
        first = climb(self._plain, choices, z, self._prior)
        self._alike = self._option_means(first, choices)
        self._likeness = self._plain.by_effects(self._alike)
        self._fitted = climb(self._likeness, choices, z, self._prior)
        self._prior = self._fitted.prior
        self._distribution = self._distribution.with_rows(self._rows(self._fitted))
        self._cycles += self._cycles_asked if self.scheduled else 1
        if self.scheduled:
            self._end_cycle()
        elif self.max_risk and self._cycles >= self.cycles_per_stage:
            in_cycles = len(self.history) < self.explore * self.evaluations
            if not in_cycles and len(self.history) % _JUDGE < len(architectures):
                risks = self._confirmed_risks()
                chosen = [np.flatnonzero(row <= self.max_risk) for row in risks]
                self._prune(chosen, risks, self._prunable())

    def _rows(self, effects: Effects) -> list[Matrix]:
        means = self._option_means(effects, self._best(effects, effects.choices))
        return [np.exp((row - max(row)) / _TEMPERATURE) for row in means]

    def _option_means(self, effects: Effects, contexts: Choices) -> list[Matrix]:
        """Return for each decision the fitted scores of its options, averaged over contexts."""
        everything = [np.ones(k, dtype=np.bool_) for k in self._sizes]
        means = effects.mean(variants(contexts, everything)).reshape(-1, len(contexts))
        return np.split(means.mean(axis=1), np.cumsum(self._sizes)[:-1])

    def _end_cycle(self) -> None:
        if self._cycles < self.cycles_per_stage:
            return
        risks = self.risks() if self.max_risk is None else self._confirmed_risks()
        forced = self._cycles >= self.longest_stage
        chosen = []
        distribution, prunable = self._distribution, self._prunable()
        for i, (row, mask) in enumerate(zip(risks, prunable, strict=True)):
            # of equal risks, the least likely
            least = int(np.lexsort((distribution.rows[i], np.where(mask, row, np.inf)))[0])
            prune = self._due[i] and (
                forced or self.max_risk is None or row[least] <= self.max_risk
            )
            chosen.append(np.array([least] if prune else [], dtype=np.int64))
            self._due[i] = self._due[i] and not prune
        self._prune(chosen, risks, prunable)
        if not any(self._due):
            self._cycles = 0
            self.stage += 1
            self._due = [int(mask.sum()) > self.keep for mask in self._distribution.alive]

    def _confirmed_risks(self) -> list[Matrix]:
        """Return the larger of two judgements by separate draws.

        Of many options, those that one judgement happens to underrate would be pruned first.
        """
        return [np.maximum(a, b) for a, b in zip(self.risks(), self.risks(again=1), strict=True)]

    def risks(self, again: int = 0) -> list[Matrix]:
        """Return for each option the probability that the best surviving architecture has it.

        One row a decision, which sums to 1; needs at least one score. By the first fit: the
        second, which has used the scores twice, is too sure.

        Args:
            again: another number gives an estimate by other draws.
        """
        choices = np.array(self.history)
        posteriors, weights = fits(self._plain, choices, self._z(), least=0.1)
        return best_option_shares(
            posteriors,
            weights,
            self._distribution.alive,
            np.random.default_rng([len(self.history), again]),
            self._holds if self.legal.rules else None,
        )

    def _prunable(self) -> list[Mask]:
        """Return which options of each decision survive and may be pruned."""
        masks = [mask.copy() for mask in self._distribution.alive]
        if (spared := self.legal.spared(self._distribution)) is not None:
            for mask, option in zip(masks, spared, strict=True):
                mask[option] = False
        return masks

    def _prune(
        self, options: list[npt.NDArray[np.int64]], risks: list[Matrix], prunable: list[Mask]
    ) -> None:
        """Prune these options of each decision, the least likely first, but never the last."""
        alive = [mask.copy() for mask in self._distribution.alive]
        for mask, may, chosen, row in zip(alive, prunable, options, risks, strict=True):
            for option in chosen[np.argsort(row[chosen], kind="stable")].tolist():
                if may[option] and mask.sum() > 1:
                    mask[option] = False
                    self.risk += float(row[option])
        if any((a != b).any() for a, b in zip(alive, self._distribution.alive, strict=True)):
            rows, decisions = self._distribution.rows, self.space.decisions
            self._distribution = JointDistribution(decisions, rows, tuple(alive))
            self.stage += not self.scheduled

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "distribution": self._distribution.to_dict(),
            "cycles": self._cycles,
            "due": list(self._due),
            "risk": self.risk,
            "prior": None if self._prior is None else list(astuple(self._prior)),
            "drifting": self._drifting,
            "alike": [row.tolist() for row in self._alike],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = JointDistribution.from_dict(state["distribution"])
        self._cycles, self._due, self.risk = state["cycles"], list(state["due"]), state["risk"]
        self._prior = None if state["prior"] is None else Prior(*state["prior"])
        self._drifting, self._fitted = state["drifting"], None
        self._alike = [np.array(row) for row in state["alike"]]
        self._likeness = self._plain.by_effects(self._alike) if self._alike else self._plain


def expected_improvement(mean: Matrix, spread: Matrix, best: float) -> Matrix:
    """Return E[max(0, f - best)] of normal f with these means and standard deviations."""
    gap = (mean - best) / spread
    density = np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)
    return np.asarray(spread * (gap * ndtr(gap) + density))
