"""DDPNAS with fitted effects: fair cycles, pruning of stated risk, then what the fit ranks best.

Theta comes from a Gaussian process over all scores so far (:mod:`ddpnas.strategies._posterior`)
instead of the means of one stage. Without a budget the schedule is the paper's. With a budget, fair
cycles take a share of it, and the rest is spent on one architecture at a time.

The risk of an option is the probability that the best surviving architecture has it
(:mod:`ddpnas.strategies._risk`). Both the fit and the risk are ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies._fit import FitForm, ScoreFit, best_contexts
from ddpnas.strategies._posterior import fit_all_priors
from ddpnas.strategies._risk import DRAWS, best_option_shares, variants
from ddpnas.strategies._rows import row_codes, unique_rows
from ddpnas.strategies.base import BaseStrategy, StateForm, recommend, restored_array
from ddpnas.strategies.legal import Choices, Indices
from ddpnas.strategies.pruning import MEMORY, MovingPruning
from ddpnas.strategies.schedule import Cycles, PruningSchedule
from ddpnas.utils.read import Whole
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["DDPNAS", "expected_improvement"]

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_CYCLES_DRAWN = 32  # of which the one that repeats the fewest pairs is taken
_REFIT = 5  # proposals between two refits; fewer while there are less than 40 scores
_JUDGE = 10  # proposals between two judgements of the risk, which draw from the fit twice


class DDPNAS(BaseStrategy):
    """DDPNAS with a fit of all scores: fair cycles, and pruning of the options least likely best.

    Without ``evaluations``, T cycles make a stage. After each, the option of every decision that is
    least likely to be part of the best architecture is pruned, T (K (K + 1) / 2 - 1) scores in all.
    With ``max_risk``, an option of a larger risk is not pruned yet. Further cycles follow, until
    the stage has ``max_stage_factor`` T cycles.

    With ``evaluations``, fair cycles come first, chosen to repeat few pairs of choices. The
    architectures of the largest expected improvement follow, one at a time. With ``max_risk``,
    every option of at most that risk is pruned on the way; with ``pruning="threshold"``, every
    option whose moving probability falls below a rising bar.

    Theta of an option is the softmax of its fitted score, averaged over the contexts ranked best.
    The log-likelihood that :func:`ddpnas.generate` maximizes is therefore the additive part of the
    fit around the optimum.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Budget, a number of scores. None follows the paper's schedule.
        cycles_per_stage: T, cycles between two prunings of the schedule, and the fewest cycles
            before anything is pruned within a budget.
        max_risk: Largest risk of pruning an option. None prunes whatever its risk on the schedule,
            and nothing within a budget; so does 0 there.
        max_stage_factor: A stage that waits for smaller risks has at most this many times T cycles.
        explore: Share of a budget that fair cycles take.
        keep: Survivors of each decision at which the schedule's pruning stops.
        pruning: What is pruned: options of the smallest "risk", or within a budget those below a
            rising "threshold", see :mod:`ddpnas.strategies.pruning`.
        layers: Remove layers that are likely skipped: decisions with the option "skip", and the
            last ones of decisions about a depth.
        draws: Draws from the fit for an estimate of risk. Fewer are faster and less precise.

    Attributes:
        risk: Sum of the risks of all prunings so far. As far as the risks are right, it bounds the
            probability that anything of the best architecture was pruned.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = DDPNAS(space, cycles_per_stage=2)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> len(strategy.history), strategy.architecture["block1"]
        (10, 'conv')
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count | None = None,
        cycles_per_stage: Cycles = 10,
        max_risk: Annotated[float, Range(0, below=1)] | None = None,
        max_stage_factor: Annotated[int, Range(1, 1000)] = 2,
        explore: Annotated[float, Range(above=0, most=1)] = 0.2,
        keep: Count = 1,
        pruning: Literal["risk", "threshold"] = "risk",
        layers: bool = False,
        draws: Annotated[int, Range(1, 100_000)] = DRAWS,
    ) -> None:
        super().__init__(space, seed, evaluations)
        self.scheduled = evaluations is None
        if pruning == "threshold" and (self.scheduled or max_risk is not None):
            raise OptionError(
                "pruning 'threshold' takes the place of the schedule and of max_risk; give "
                "evaluations, and leave max_risk out"
            )
        self.cycles_per_stage, self.max_risk = cycles_per_stage, max_risk
        self.explore, self.draws = explore, draws
        self.schedule = PruningSchedule(
            keep, cycles_per_stage * (1 if max_risk is None else max_stage_factor)
        )
        self.risk = 0.0
        self._cycles = 0  # told in this stage; within a budget, since the start
        self._due = [k > keep for k in self._sizes]  # decisions that this stage has still to prune
        self._distribution = JointDistribution.uniform(space.decisions)
        self._fit = ScoreFit(space)
        # A stage of the schedule is fitted once, so that there is nothing to average.
        self._moving = MovingPruning(
            space,
            threshold=pruning == "threshold",
            layers=layers,
            memory=0.0 if self.scheduled else MEMORY,
        )
        self._moves = layers or pruning == "threshold"

    def scores_left(self) -> int:
        """Return how many scores are still needed; at most, where a pruning may be postponed."""
        if not self.scheduled:
            return super().scores_left()
        after = max(
            int(mask.sum()) - due
            for mask, due in zip(self._distribution.alive, self._due, strict=True)
        )
        return self.schedule.scores_left(self._distribution.max_survivors, self._cycles, after)

    @property
    def distribution(self) -> JointDistribution:
        """Theta and the survivors."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """The scored architecture within the rules of the best mean of its score and its fit.

        Without such an architecture, or when the schedule has decided, the most likely survivor.
        """
        if self.history and not (self.scheduled and self._distribution.max_survivors == 1):
            # A lucky score that does not fit is as little to be trusted as a fit that failed.
            value = self._fit.posterior.fitted + self._fit.observations.z
            found = self.first_allowed(np.argsort(-value, kind="stable").tolist())
            if found is not None:
                return found
        return recommend(self._distribution, self.space)

    def best(self, n: int) -> list[Architecture]:
        """Return the n architectures of survivors that the fit ranks best, best first.

        They are scored ones and their neighbors, and obey all rules. The list is shorter if there
        are fewer.
        """
        posterior, alive = self._fit.posterior, self._distribution.alive
        pool = unique_rows(variants(self._only_survivors(posterior.choices), alive))
        found: list[Architecture] = []
        for at in np.argsort(-posterior.mean(pool), kind="stable").tolist():
            architecture = self.space.decode(tuple(pool[at].tolist()))
            if all(rule.holds(architecture) for rule in self.space.rules):
                found.append(architecture)
            if len(found) == n:
                break
        return found

    def risks(self, again: int = 0) -> list[Matrix]:
        """Return for each option the probability that the best surviving architecture has it.

        One row for each decision, which sums to 1. Needs at least one score. The first fit judges:
        the second has used the scores twice and is too sure.

        Args:
            again: Another number gives an estimate by other draws.
        """
        posteriors, weights = fit_all_priors(self._fit.observations, least=0.1)
        return best_option_shares(
            posteriors,
            weights,
            self._distribution.alive,
            np.random.default_rng([len(self.history), again]),
            self.legal.holds if self.legal.rules else None,
            self.draws,
        )

    def propose(self) -> list[Indices] | Choices:
        """Return a stage of fair cycles; with a budget, a cycle or the best proposal."""
        if self.scheduled:
            if not self.scores_left():  # nothing to decide
                return self.legal.fair_cycle(self._distribution, self.rng)[:1]
            cycles = [
                self.legal.fair_cycle(self._distribution, self.rng)
                for _ in range(self._cycles_to_ask)
            ]
            return np.concatenate(cycles)
        told = len(self.history)
        if told == 0 or told < self.explore * self.evaluations:
            return self._spread_cycle()
        return [self._most_promising()]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Fit all scores again, move theta, and prune what is due."""
        self._fit.observe(np.array(self.history), np.array(self.scores))
        n = len(self.history)
        # Early on every score counts, so refits are more frequent below 40 scores.
        if len(architectures) == 1 and n % min(_REFIT, max(1, n // 8)) and not self.done:
            return
        self._fit.refit()
        self._distribution = self._distribution.with_rows(self._fit.theta())
        if self.scheduled:
            self._cycles += self._cycles_to_ask
            if self._cycles >= self.cycles_per_stage:
                self._prune_by_probability()
                self._prune_on_schedule()
        else:
            self._cycles += 1
            self._prune_by_probability()
            explored = n >= self.explore * self.evaluations
            if explored and n % _JUDGE < len(architectures):
                self._prune_within_budget()

    # ---- the schedule ---------------------------------------------------------------------------

    @property
    def _cycles_to_ask(self) -> int:
        """Cycles to request next: all T at the start of a stage, then one at a time.

        Those requested together are scored with the same weights.
        """
        return max(1, self.cycles_per_stage - self._cycles)

    def _prune_on_schedule(self) -> None:
        """Prune the option of the smallest risk of each decision that is due, or wait."""
        risks = self.risks() if self.max_risk is None else self._confirmed_risks()
        forced = self._cycles >= self.schedule.cycles
        chosen = []
        distribution, prunable = self._distribution, self._prunable()
        several = [int(mask.sum()) > self.schedule.keep for mask in distribution.alive]
        self._due = [a and b for a, b in zip(self._due, several, strict=True)]
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
            keep = self.schedule.keep
            self._due = [int(mask.sum()) > keep for mask in self._distribution.alive]

    # ---- the budget -----------------------------------------------------------------------------

    def _spread_cycle(self) -> Choices:
        """Return, of some fair cycles, the one that repeats the fewest pairs of choices.

        New pairs of choices say more about the effects of pairs.
        """
        drawn = [self.legal.fair_cycle(self._distribution, self.rng) for _ in range(_CYCLES_DRAWN)]
        seen = np.array(self.history, dtype=np.int64).reshape(-1, len(self._sizes))

        def repeated(cycle: Choices) -> float:
            return float(self._fit.plain.compare(cycle, np.concatenate([seen, cycle])).pairs.sum())

        return min(drawn, key=repeated)

    def _most_promising(self) -> Indices:
        """Return the architecture of the largest expected improvement that was not scored yet."""
        posterior, alive = self._fit.posterior, self._distribution.alive
        contexts = best_contexts(posterior, self._only_survivors(posterior.choices))
        pool = self._fresh(np.concatenate([contexts, variants(contexts, alive)]))
        if len(pool):
            beyond = variants(best_contexts(posterior, pool), alive)
            pool = self._fresh(np.concatenate([pool, beyond]))
        if not len(pool):
            return self._any_survivor()
        gain = expected_improvement(*posterior.mean_and_spread(pool), posterior.fitted.max())
        return tuple(pool[int(gain.argmax())].tolist())

    def _fresh(self, pool: Choices) -> Choices:
        """Return what was not scored yet and obeys the rules, without repetition."""
        codes, first = np.unique(row_codes(pool, self._sizes), return_index=True)
        seen = row_codes(self._fit.observations.choices, self._sizes)
        pool = pool[first[~np.isin(codes, seen)]]
        return pool[self.legal.holds(pool)]

    def _any_survivor(self) -> Indices:
        """Return a random architecture: everything near the best was scored."""
        theta = np.zeros((len(self._sizes), max(self._sizes)))
        for row, mask in zip(theta, self._distribution.alive, strict=True):
            row[: len(mask)] = mask / mask.sum()
        return self.legal.draw(theta, self._distribution, self.rng)

    def _only_survivors(self, choices: Choices) -> Choices:
        """Return the architectures with what was pruned replaced by the likeliest survivor."""
        result = choices.copy()
        distribution = self._distribution
        for i, (row, mask) in enumerate(zip(distribution.rows, distribution.alive, strict=True)):
            likeliest = int(np.where(mask, row, -1.0).argmax())
            result[:, i] = np.where(mask[choices[:, i]], choices[:, i], likeliest)
        return result

    def _prune_within_budget(self) -> None:
        """Prune every option of at most ``max_risk``, after the fewest cycles."""
        if not self.max_risk or self._cycles < self.cycles_per_stage:
            return
        risks = self._confirmed_risks()
        chosen = [np.flatnonzero(row <= self.max_risk) for row in risks]
        self._prune(chosen, risks, self._prunable())

    # ---- both -----------------------------------------------------------------------------------

    def _prune_by_probability(self) -> None:
        """Prune what is below the rising bar, and layers whose skips are likely."""
        if not self._moves:
            return
        before = self._distribution
        done = len(self.history) / self.evaluations
        after = self._moving(before, done, self.legal.protected_options(before))
        chosen = [np.flatnonzero(a & ~b) for a, b in zip(before.alive, after.alive, strict=True)]
        if any(map(len, chosen)):
            self._prune(chosen, self.risks(), self._prunable())

    def _confirmed_risks(self) -> list[Matrix]:
        """Return the larger of two judgements by separate draws.

        Of many options, those that one judgement happens to underrate would be pruned first.
        """
        return [np.maximum(a, b) for a, b in zip(self.risks(), self.risks(again=1), strict=True)]

    def _prunable(self) -> list[Mask]:
        """Return which options of each decision survive and may be pruned."""
        masks = [mask.copy() for mask in self._distribution.alive]
        if (protected := self.legal.protected_options(self._distribution)) is not None:
            for mask, option in zip(masks, protected, strict=True):
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
            "means": self._moving.state_dict(),
            "fit": self._fit.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = self.restored_distribution(state["distribution"])
        self._cycles, self.risk = state["cycles"], state["risk"]
        self._due = restored_array(state["due"], np.array(self._due), "due").tolist()
        self._moving.load_state_dict(state["means"])
        self._fit.load_state_dict(state["fit"])
        if self.history:
            self._fit.observe(np.array(self.history), np.array(self.scores))


class _Form(StateForm):
    distribution: dict[str, Any]
    cycles: Whole
    due: list[bool]
    risk: float
    means: list[Any]
    fit: FitForm


DDPNAS.state_form = _Form


def expected_improvement(mean: Matrix, spread: Matrix, best: float) -> Matrix:
    """Return E[max(0, f - best)] of normal f with these means and standard deviations.

    Example:
        >>> expected_improvement(np.array([0.0]), np.array([1.0]), 0.0).round(4)
        array([0.3989])
    """
    gap = (mean - best) / spread
    density = np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)
    return np.asarray(spread * (gap * ndtr(gap) + density))
