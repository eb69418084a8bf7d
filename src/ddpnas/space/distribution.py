"""JointDistribution: the joint categorical distribution over architectures and its survivors.

Notation.  theta_i  (K_i,)  probabilities of the K_i options of decision i, sum 1
           alpha_i          the option that architecture alpha chooses there
           p(alpha) = prod_i theta_i[alpha_i]        Zheng et al., arXiv 1905.13543

``theta`` always covers every option. Pruning marks an option as not surviving but leaves it a
probability, because generation within limits weighs pruned options against what is affordable.
Sampling and decoding see survivors only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ddpnas.errors import SpaceError
from ddpnas.space.decisions import Architecture, Decision, DecisionForm
from ddpnas.utils.read import checked_content
from ddpnas.utils.shapes import Share, shown

__all__ = ["DistributionForm", "JointDistribution"]

Row = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Choices = npt.NDArray[np.int64]

_SUM = 1e-6  # by which the sum of a row in a file may differ from 1


class DistributionForm(TypedDict):
    """What files keep of a distribution, see :meth:`JointDistribution.to_dict`."""

    decisions: list[DecisionForm]
    theta: dict[str, dict[str, Share]]
    survivors: dict[str, list[str]]


@dataclass(frozen=True)
class JointDistribution:
    """A product of categorical distributions, one for each decision.

    Attributes:
        decisions: The d decisions, in the order of the space.
        rows: d arrays of shape (K_i,): probabilities of all options; each row sums to 1.
        alive: d arrays of shape (K_i,): whether each option survives.

    Raises:
        SpaceError: A row is not made of probabilities, or no option of a decision survives.

    Example:
        >>> start = JointDistribution.uniform([Decision("d", ("conv", "skip"))])
        >>> learned = start.with_rows([np.array([3.0, 1.0])])
        >>> learned.theta["d"].tolist(), learned.mode()
        ([0.75, 0.25], Architecture({'d': 'conv'}))
        >>> learned.prune(1, np.random.default_rng(0)).survivors
        {'d': ('conv',)}
    """

    decisions: tuple[Decision, ...]
    rows: tuple[Row, ...]
    alive: tuple[Mask, ...]

    def __post_init__(self) -> None:
        decisions = self.decisions
        if type(decisions) is not tuple or not all(isinstance(d, Decision) for d in decisions):
            raise SpaceError(
                f"a distribution is over a tuple of decisions, such as space.decisions, not over "
                f"{shown(decisions)}"
            )
        options = [len(decision.options) for decision in decisions]
        if [len(r) for r in self.rows] != options or [len(m) for m in self.alive] != options:
            raise SpaceError("a distribution needs a row and a mask with an entry for each option")
        if not all(options):
            raise SpaceError("a distribution is over decisions with at least one option each")
        if not options:
            return
        # All rows together, as this runs after every update of a search.
        starts = np.cumsum([0, *options[:-1]])
        theta = np.concatenate(self.rows)
        sums = np.add.reduceat(theta, starts)
        # False for NaN, too.
        proper = (np.abs(sums - 1) <= _SUM) & (np.minimum.reduceat(theta, starts) >= 0)
        some = np.logical_or.reduceat(np.concatenate(self.alive), starts)
        for decision, row, fine, left in zip(self.decisions, self.rows, proper, some, strict=True):
            if not fine:
                raise SpaceError(
                    f"theta of decision {decision.name!r} must be probabilities that sum to 1, "
                    f"not {row.tolist()}"
                )
            if not left:
                raise SpaceError(f"no option of decision {decision.name!r} survives")

    @classmethod
    def uniform(cls, decisions: Sequence[Decision]) -> JointDistribution:
        """Return the distribution a search starts from: theta_i = 1 / K_i, all options survive."""
        sizes = [len(decision.options) for decision in decisions]
        return cls(
            tuple(decisions),
            tuple(np.full(k, 1.0 / k) for k in sizes),
            tuple(np.ones(k, dtype=np.bool_) for k in sizes),
        )

    @property
    def theta(self) -> dict[str, Row]:
        """Probabilities of all options by decision, pruned ones included."""
        return {d.name: row.copy() for d, row in zip(self.decisions, self.rows, strict=True)}

    @property
    def survivors(self) -> dict[str, tuple[str, ...]]:
        """The options of each decision that were not pruned."""
        return {
            d.name: tuple(o for o, ok in zip(d.options, mask, strict=True) if ok)
            for d, mask in zip(self.decisions, self.alive, strict=True)
        }

    def with_rows(self, rows: Sequence[Row]) -> JointDistribution:
        """Return the distribution with other probabilities, each row normalized to sum 1."""
        return JointDistribution(self.decisions, tuple(r / r.sum() for r in rows), self.alive)

    def prune(
        self,
        keep: int,
        rng: np.random.Generator,
        groups: Sequence[Sequence[str | None]] | None = None,
        protected: Sequence[int] | None = None,
    ) -> JointDistribution:
        """Return the distribution without the least likely survivor of every decision.

        Args:
            keep: Decisions with this many survivors or fewer are left alone.
            rng: Breaks ties.
            groups: Group of each option of each decision, or None for no group. The last survivor
                of a group stays.
            protected: Index of a survivor of each decision that stays.
        """
        alive = []
        for i, (row, mask) in enumerate(zip(self.rows, self.alive, strict=True)):
            left = mask.copy()
            candidates = np.flatnonzero(mask)
            if groups is not None:
                of = [groups[i][c] for c in candidates.tolist()]
                last = [g is not None and of.count(g) == 1 for g in of]
                candidates = candidates[~np.array(last)]
            if protected is not None:
                candidates = candidates[candidates != protected[i]]
            if mask.sum() > keep and candidates.size > 0:
                least = candidates[row[candidates] == row[candidates].min()]
                left[rng.choice(least)] = False
            alive.append(left)
        return JointDistribution(self.decisions, self.rows, tuple(alive))

    @property
    def max_survivors(self) -> int:
        """The largest number of survivors of a decision: the length of a fair cycle."""
        return max(int(mask.sum()) for mask in self.alive)

    def fair_choices(self, rng: np.random.Generator) -> Choices:
        """Return one cycle: architectures in which every survivor of every decision occurs.

        With k survivors everywhere, k architectures, each survivor in exactly one of them
        (sampling without replacement). A decision with fewer survivors is filled up with further
        permutations, so that counts of its survivors differ by at most one. ``theta`` plays no
        part.

        Args:
            rng: Source of randomness.

        Returns:
            (k, d) option indices, k the largest number of survivors of a decision.
        """
        length = self.max_survivors
        columns = []
        for mask in self.alive:
            survivors = np.flatnonzero(mask)
            rounds = -(-length // len(survivors))
            order = np.concatenate([rng.permutation(survivors) for _ in range(rounds)])[:length]
            columns.append(order)
        return np.stack(columns, axis=1)

    def fair_cycle(self, rng: np.random.Generator) -> list[Architecture]:
        """Return the cycle of :meth:`fair_choices` as architectures."""
        return [
            Architecture({d.name: d.options[i] for d, i in zip(self.decisions, row, strict=True)})
            for row in self.fair_choices(rng).tolist()
        ]

    def log_prob(self, architecture: Mapping[str, str]) -> float:
        """Return log p(alpha), the natural logarithm; minus infinity if an option has theta 0."""
        with np.errstate(divide="ignore"):
            return float(
                sum(
                    np.log(row[d.index(architecture[d.name])])
                    for d, row in zip(self.decisions, self.rows, strict=True)
                )
            )

    def mode(self) -> Architecture:
        """Return the most likely architecture made of survivors; the first of equal ones."""
        return Architecture(
            {
                d.name: d.options[int(np.argmax(np.where(mask, row, -np.inf)))]
                for d, row, mask in zip(self.decisions, self.rows, self.alive, strict=True)
            }
        )

    def entropy(self) -> float:
        """Return the entropy over survivors, in nats; 0 once everything is decided."""
        total = 0.0
        for row, mask in zip(self.rows, self.alive, strict=True):
            # If all survivors have theta 0, nothing is known about them: all are equally likely.
            weights = row[mask] if row[mask].any() else np.ones(int(mask.sum()))
            p = weights[weights > 0] / weights.sum()
            total -= float((p * np.log(p)).sum())
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the decisions, and theta and survivors of each by name."""
        return {
            "decisions": [decision.to_dict() for decision in self.decisions],
            "theta": {
                d.name: dict(zip(d.options, row.tolist(), strict=True))
                for d, row in zip(self.decisions, self.rows, strict=True)
            },
            "survivors": {name: list(options) for name, options in self.survivors.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JointDistribution:
        """Return the distribution that :meth:`to_dict` described, bit for bit.

        Raises:
            SpaceError: The data describe no distribution.
        """
        form = checked_content(data, DistributionForm, "a distribution", SpaceError)
        theta, survivors = form["theta"], form["survivors"]
        decisions = tuple(Decision.from_dict(decision) for decision in form["decisions"])
        names = {decision.name for decision in decisions}
        if not names == set(theta) == set(survivors):
            raise SpaceError("theta and survivors must have an entry for each decision")
        for decision in decisions:
            options = set(decision.options)
            if set(theta[decision.name]) != options:
                raise SpaceError(
                    f"theta of decision {decision.name!r} must have an entry for each of "
                    f"{', '.join(decision.options)}"
                )
            if not set(survivors[decision.name]) <= options:
                raise SpaceError(
                    f"survivors of decision {decision.name!r} must be some of "
                    f"{', '.join(decision.options)}, not {survivors[decision.name]}"
                )
        return cls(
            decisions,
            tuple(np.array([theta[d.name][o] for o in d.options], float) for d in decisions),
            tuple(np.array([o in survivors[d.name] for o in d.options]) for d in decisions),
        )
