"""Rules that prune options or layers by their probabilities: a share, a rising bar, whole layers.

Notation.  p   probability of a survivor among the survivors of its decision
           k   survivors of the decision
           m   moving mean of p, over about ten updates
           t   part of the search that is over

    share      drops the floor(0.4 k) least likely survivors of every decision
    threshold  drops survivors with m < t / (2 k), never the likeliest
    layers     removes layers with m(skip) > 0.6; where a decision is a number of layers, the last
               ones, as soon as their m is below 0.8 of a fair share

They only edit masks, so they serve strategies that train a mixture and those that learn from
samples alike. The first is in the manner of DA-NAS (Dai et al., ECCV 2020, arXiv 2003.12563), of
which a share of 0.4 is known, but not what it is applied to. The others are in the manner of Tiered
Pruning (Kierat et al., arXiv 2209.11785), of whose abstract we know that blocks are pruned during
the search and that unnecessary layers are; thresholds and means are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ddpnas.errors import RunError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import restored_array

__all__ = ["MEMORY", "MovingPruning", "left_by_share", "prune_share"]

MEMORY = 0.9
"""The part of the old moving mean in the new one."""

_SHARE = 0.4  # of the survivors, which DA-NAS drops after a stage
_BAR = 0.5  # of a survivor's fair share, where the bar ends
_LIKELY = 0.6  # probability of a skip that removes a layer
_UNLIKELY = 0.8  # of a fair share; with two options, a layer is then as likely skipped as above
_SKIP = "skip"
_NUMBERS = ("depth", "layers")  # last words of the names of decisions about a number of layers

Row = npt.NDArray[np.float64]


def left_by_share(survivors: int) -> int:
    """Return how many survivors of a decision are left after a stage of DA-NAS.

    Example:
        >>> left_by_share(5), left_by_share(3), left_by_share(2)
        (3, 2, 2)
    """
    return survivors - int(_SHARE * survivors + 1e-9)


def prune_share(
    distribution: JointDistribution, rng: np.random.Generator, protected: Sequence[int] | None
) -> JointDistribution:
    """Return the distribution without the least likely part of every decision's survivors.

    Args:
        distribution: Probabilities and survivors.
        rng: Breaks ties.
        protected: Index of a survivor of each decision that stays.

    Example:
        >>> from ddpnas.space import Decision
        >>> found = JointDistribution.uniform([Decision("op", tuple("abcde"))])
        >>> sizes = []
        >>> for _ in range(3):
        ...     found = prune_share(found, np.random.default_rng(0), None)
        ...     sizes.append(found.max_survivors)
        >>> sizes
        [3, 2, 2]
    """
    alive = []
    for i, (row, mask) in enumerate(zip(distribution.rows, distribution.alive, strict=True)):
        survivors = rng.permutation(np.flatnonzero(mask))
        dropped = len(survivors) - left_by_share(len(survivors))
        order = survivors[np.argsort(row[survivors], kind="stable")]
        if protected is not None:
            order = order[order != protected[i]]
        left = mask.copy()
        left[order[:dropped]] = False
        alive.append(left)
    return JointDistribution(distribution.decisions, distribution.rows, tuple(alive))


class MovingPruning:
    """Drops options below a bar that rises with time, and layers whose skips are likely.

    A layer is a decision with the option "skip", so no layer that changes the shape is removed. One
    that was removed has "skip" as its only survivor. Which layer of a stage it is does not matter:
    the canonical form of a space has the skips of a stage at its end. A decision whose name ends
    with "depth" or "layers", and whose options are numbers, is about several layers; of these the
    last ones are removed.

    Args:
        space: The decisions.
        threshold: Whether options are dropped below the bar.
        layers: Whether layers are removed, in spaces with such decisions.
        memory: Part of the old moving mean in the new one; 0 looks at the last update alone.

    Example:
        >>> from ddpnas.space import Decision
        >>> space = DecisionSpace([Decision("op", ("a", "b", "c"))])
        >>> rule, found = MovingPruning(space), JointDistribution.uniform(space.decisions)
        >>> found = found.with_rows([np.array([0.6, 0.35, 0.05])])
        >>> for step in range(20):
        ...     found = rule(found, (step + 1) / 20)
        >>> found.survivors
        {'op': ('a', 'b')}
    """

    def __init__(
        self,
        space: DecisionSpace,
        *,
        threshold: bool = True,
        layers: bool = False,
        memory: float = MEMORY,
    ) -> None:
        self._threshold, self._memory = threshold, memory
        self._mean: list[Row] = [
            np.full(len(d.options), 1 / len(d.options)) for d in space.decisions
        ]
        self._skips = {
            i: d.options.index(_SKIP)
            for i, d in enumerate(space.decisions)
            if layers and _SKIP in d.options
        }
        self._depths = [
            i
            for i, d in enumerate(space.decisions)
            if layers and d.name.split(".")[-1] in _NUMBERS and _ascend(d.options)
        ]

    def __call__(
        self,
        distribution: JointDistribution,
        time: float,
        protected: Sequence[int] | None = None,
    ) -> JointDistribution:
        """Return the distribution with fewer survivors; call it once an update.

        Args:
            distribution: Probabilities and survivors.
            time: t, from 0 to 1.
            protected: Index of a survivor of each decision that stays.
        """
        for i, (row, mask) in enumerate(zip(distribution.rows, distribution.alive, strict=True)):
            p, mean = np.where(mask, row, 0.0), np.where(mask, self._mean[i], 0.0)
            self._mean[i] = self._memory * mean / mean.sum() + (1 - self._memory) * p / p.sum()
        alive = [mask.copy() for mask in distribution.alive]
        if self._threshold:
            for i, mask in enumerate(alive):
                # The likeliest has a fair share at least, which is twice the bar or more.
                mask &= self._mean[i] >= time * _BAR / mask.sum()
        for i, skip in self._skips.items():
            if self._mean[i][skip] > _LIKELY:
                alive[i][:] = np.arange(len(alive[i])) == skip
        for i in self._depths:
            alive[i] &= self._kept_layers(i, alive[i])
        for i, option in enumerate(protected or ()):
            alive[i][option] = True
        return JointDistribution(distribution.decisions, distribution.rows, tuple(alive))

    def _kept_layers(self, i: int, alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which numbers of layers are left, of a decision in which they rise."""
        kept, mean = np.ones(len(alive), dtype=bool), self._mean[i] * alive
        for k in range(1, len(alive)):
            fair = alive[k:].sum() / alive.sum()
            if mean[k:].sum() < _UNLIKELY * fair * mean.sum():
                kept[k:] = False
                break
        return kept

    def state_dict(self) -> list[list[float]]:
        """Return the moving means as plain data."""
        return [row.tolist() for row in self._mean]

    def load_state_dict(self, state: Sequence[Sequence[float]]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            RunError: It is the state of other decisions.
        """
        if len(state) != len(self._mean):
            raise RunError("cannot use the state of the strategy: means has other decisions")
        self._mean = [
            restored_array(row, mean, "means") for row, mean in zip(state, self._mean, strict=True)
        ]


def _ascend(options: Sequence[str]) -> bool:
    """Return whether options are rising whole numbers."""
    if not all(option.isdecimal() for option in options):
        return False
    numbers = [int(option) for option in options]
    return numbers == sorted(set(numbers))
