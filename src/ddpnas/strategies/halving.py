"""Successive halving: many candidates are trained a little, the better part of them further.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016 (arXiv 1502.07943). A rung asks for some architectures again; the evaluator
``continued`` then trains them further. Which candidates enter is ours: given ones first, such as
standard designs, then draws within the limits, from the distribution that DDPNAS learns meanwhile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from ddpnas.costs.pace import EPOCH_SECONDS, Pace
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, checked_limits, within
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies._counted import counted_costs
from ddpnas.strategies._fit import FitForm, ScoreFit
from ddpnas.strategies.base import BaseStrategy, StateForm
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["Halving"]

_TRIES = 20_000  # draws for one candidate within the limits, before the solver is asked
_DRAWS = 500  # before architectures enter a second time, as in a space that has few
_COUNTED = 2_000  # architectures of a space small enough to count those that can enter
_POOL = 200  # draws that say what is fast


class Halving(BaseStrategy):
    """Successive halving: many candidates are trained a little, the better ones further.

    The first rung comes in two batches. The second half of it is drawn from what the first half's
    scores say: theta is the softmax of the fitted effects of all scores, times the prior.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        candidates: Number of architectures in the first rung; fewer if a small space has fewer.
        reduction: One in this many of a rung goes on to the next.
        rungs: Number of rungs.
        proposals: What the second half of the first rung is drawn from: by turns "theta", which
            knows the scores of the first half, and the prior; or the "prior" alone.
        limits: Limits of all candidates on counted costs, such as {"macs": "1.6M..2M"}, as
            :func:`ddpnas.generate` takes them.
        pace: What an epoch takes, see :class:`ddpnas.costs.pace.Pace`.
        fastest: Share of the draws that take part, those whose epochs take the least by ``pace``.
        first: Architectures that enter first, such as standard designs. The best of them stays in
            every rung of two or more.
        lead: Score by which another one has to beat them. Scores after a little training are noisy,
            and the best of several noisy ones is not better for that.
        prior: Decision -> option -> weight in draws; 1 where nothing is said.

    Raises:
        OptionError: Limits on a cost that the space does not count, or a decision or option that
            it does not have.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = Halving(space, candidates=4, rungs=2)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> len(strategy.history)  # 2 and 2 candidates, then the better 2 again
        6
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        candidates: Count = 8,
        reduction: Annotated[int, Range(2, 100)] = 2,
        rungs: Annotated[int, Range(1, 30)] = 3,
        proposals: Literal["theta", "prior"] = "theta",
        limits: dict[str, Any] | None = None,
        pace: dict[str, Annotated[float, Range(0, 1e9)]] | None = None,
        fastest: Annotated[float, Range(above=0, most=1)] = 1.0,
        first: list[dict[str, str]] | None = None,
        lead: Annotated[float, Range(0, 1e9)] = 0.0,
        prior: dict[str, dict[str, Annotated[float, Range(0, 1e9)]]] | None = None,
    ) -> None:
        super().__init__(space, seed, None)
        self.proposals, self.lead = proposals, lead
        self._tables = _tables(space, limits or {}, pace or {})
        self._limits: dict[str, Limit] = checked_limits(limits or {}, self._tables)
        given = dict.fromkeys(space.encode(space.check(one)) for one in first or [])
        self._first = list(given)[:candidates]
        self._prior = _rows(space, prior or {})
        self._distribution = JointDistribution.uniform(space.decisions).with_rows(self._prior)
        self._fit = ScoreFit(space)
        if pace and fastest < 1:
            table = self._tables[EPOCH_SECONDS]
            drawn = [table.cost(space.decode(self._draw(self._prior))) for _ in range(_POOL)]
            self._limits[EPOCH_SECONDS] = Limit(upper=float(np.quantile(drawn, fastest)))
        # One that entered twice would be trained further than the others of its rung.
        size = self._enterable(candidates)
        self._rungs = [max(1, math.ceil(size / reduction**n)) for n in range(rungs)]
        self._total = sum(self._rungs)

    @property
    def distribution(self) -> JointDistribution:
        """Theta; nothing is pruned, since too few architectures are scored for that."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """The one with the best score in the last rung so far that obeys all rules."""
        begun = self._begun
        for start in reversed([s for s in begun if s < len(self.history)]):
            rung = range(start, min(len(self.history), start + self._rungs[begun.index(start)]))
            found = self.first_allowed(self._ranked(rung))
            if found is not None:
                return found
        return super().architecture

    @property
    def _begun(self) -> list[int]:
        """At which evaluation each rung begins."""
        return [sum(self._rungs[:n]) for n in range(len(self._rungs))]

    def propose(self) -> list[Indices]:
        """Return the next batch: half of the first rung, or a whole later one."""
        told, size = len(self.history), self._rungs[0]
        if told == 0:
            half = max(len(self._first), math.ceil(size / 2))
            return self._entering(half, self._first)
        if told < size:
            return self._entering(size - told, [])
        rung = self._begun.index(told)
        before = range(self._begun[rung - 1], told)
        return [self.history[i] for i in sorted(self._best(before, self._rungs[rung]))]

    def _best(self, rung: Sequence[int], number: int) -> list[int]:
        """Return the evaluations of a rung whose architectures go on.

        One that was given stays among several, so that drawn ones are compared with it to the end.
        """
        ranked = self._ranked(rung)
        best, given = ranked[:number], [i for i in ranked if self.history[i] in self._first]
        if number > 1 and given and not {*given} & {*best}:
            best[-1] = given[0]
        return best

    def _ranked(self, rung: Sequence[int]) -> list[int]:
        """Return the evaluations of a rung, the best first; drawn ones have to lead."""
        given = {i for i in rung if self.history[i] in self._first}
        ahead = self.lead if given else 0.0  # nothing to be ahead of
        return sorted(
            rung, key=lambda i: (i in self.failed, -self.scores[i] + ahead * (i not in given))
        )

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Fit all scores, brought to the level of the first rung."""
        self._fit.observe(np.array(self.history), np.array(self._level_scores()))
        self._fit.refit()
        theta = [a * b for a, b in zip(self._fit.theta(), self._prior, strict=True)]
        self._distribution = self._distribution.with_rows(theta)
        self.stage = sum(len(self.history) > start for start in self._begun[1:])

    def _level_scores(self) -> list[float]:
        """Return all scores less what those of a later rung gained by further training alone.

        That gain is the mean difference of the scores of the architectures that were in both rungs
        and did not fail.
        """
        found = list(self.scores)
        for start, size in zip(self._begun[1:], self._rungs[1:], strict=True):
            told = [i for i in range(min(start, len(found))) if i not in self.failed]
            before = {self.history[i]: found[i] for i in told}
            rung = [i for i in range(start, min(start + size, len(found))) if i not in self.failed]
            known = [i for i in rung if self.history[i] in before]
            gains = [found[i] - before[self.history[i]] for i in known]
            for i in rung:
                found[i] -= float(np.mean(gains)) if gains else 0.0
        worst = min((s for i, s in enumerate(found) if i not in self.failed), default=0.0)
        for i in self.failed:
            found[i] = worst
        return found

    def _enterable(self, most: int) -> int:
        """Return how many different architectures can enter, at most ``most``.

        A large space is taken to have as many.
        """
        options = [np.flatnonzero(row).tolist() for row in self._prior]
        if math.prod(map(len, options)) > _COUNTED:
            return most
        found = {*self._first}
        for one in itertools.product(*options):
            if len(found) >= most:
                break
            same = self._canonical(one)
            if self._allows(same) and self.legal.allows(same):
                found.add(same)
        return max(1, len(found))

    def _entering(self, n: int, chosen: list[Indices]) -> list[Indices]:
        """Return ``n`` architectures: those chosen already, then draws, different if possible."""
        seen = {*self.history, *chosen}
        tries, theta = 0, [self._prior]
        if self.proposals == "theta":
            theta = [self._distribution.rows, self._prior]
        while len(chosen) < n:
            # Of a distribution that is nearly sure, every draw is the same.
            drawn = self._draw(theta[tries % len(theta)])
            tries += 1
            if drawn not in seen or tries > _DRAWS:
                seen.add(drawn)
                chosen = [*chosen, drawn]
        return chosen[:n]

    def _draw(self, rows: Sequence[Any]) -> Indices:
        """Return an architecture within the limits, drawn from these rows."""
        theta = np.zeros((len(rows), max(map(len, rows))))
        for padded, row in zip(theta, rows, strict=True):
            padded[: len(row)] = row / row.sum()
        for _ in range(_TRIES):
            drawn = self.legal.draw(theta, self._distribution, self.rng)
            # What reaches no output is the same in all: a candidate is not drawn twice for it.
            drawn = self._canonical(drawn)
            if self._allows(drawn) and self.legal.allows(drawn):
                return drawn
        found = sample_within(self.space, self._limits, self._tables, self.rng, margin=0.0)
        return self.space.encode(found)

    def _canonical(self, indices: Indices) -> Indices:
        return self.space.encode(self.space.canonical(self.space.decode(indices)))

    def _allows(self, indices: Indices) -> bool:
        return within(self.space.decode(indices), self._limits, self._tables)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "distribution": self._distribution.to_dict(),
            "fit": self._fit.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = self.restored_distribution(state["distribution"])
        self._fit.load_state_dict(state["fit"])
        if self.history:
            self._fit.observe(np.array(self.history), np.array(self._level_scores()))


class _Form(StateForm):
    distribution: dict[str, Any]
    fit: FitForm


Halving.state_form = _Form


def _tables(
    space: DecisionSpace, limits: Mapping[str, Any], pace: Mapping[str, float]
) -> Mapping[str, CostTable]:
    """Return the costs of the space; nothing is counted where nothing is asked of them."""
    if not limits and not pace:
        return {}
    counted = counted_costs(space)
    return {**counted, EPOCH_SECONDS: Pace(pace).table(counted)} if pace else counted


def _rows(space: DecisionSpace, prior: Mapping[str, Mapping[str, float]]) -> Sequence[Any]:
    """Return the weight of each option of each decision."""
    known = {d.name: d.options for d in space.decisions}
    for name, weights in prior.items():
        if name not in known or not set(weights) <= set(known[name]):
            raise OptionError(
                f"the prior names {name!r}, which is not a decision with these options"
            )
    return [
        np.array([prior.get(d.name, {}).get(option, 1.0) for option in d.options])
        for d in space.decisions
    ]
