"""Local search: neighbors of the incumbent until one is better, from the best of random starts.

Paper:      White, Nolen, Savani, "Exploring the Loss Landscape in Neural Architecture Search",
            UAI 2021, arXiv 2005.02960
Departures: it moves to the first neighbor that is better, in random order; the paper scores all
            neighbors and moves to the best. At a local optimum it starts anew. A neighbor that was
            scored before, in this climb or an earlier one, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddpnas.errors import RunError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy, StateForm
from ddpnas.strategies.legal import Indices
from ddpnas.utils.read import Whole, blaming
from ddpnas.utils.settings import Count, Seed, checks_arguments

__all__ = ["LocalSearch"]


class LocalSearch(BaseStrategy):
    """Local search: scores neighbors in random order and moves to the first better one.

    At a local optimum it starts anew from the best of ``starts`` random architectures.

    Args:
        space: Decisions to search over.
        seed: Seed for the strategy's random generator.
        evaluations: Number of scores to ask for.
        starts: Random architectures before each climb.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in (1, 2)])
        >>> strategy = LocalSearch(space, evaluations=12, starts=3)
        >>> while not strategy.done:
        ...     batch = strategy.ask()
        ...     strategy.tell(batch, [float(a["block1"] == "conv") for a in batch])
        >>> strategy.architecture["block1"]
        'conv'
    """

    @checks_arguments
    def __init__(
        self, space: DecisionSpace, seed: Seed = 0, *, evaluations: Count = 100, starts: Count = 10
    ) -> None:
        super().__init__(space, seed, evaluations)
        self.starts = starts
        self._starting = starts  # random architectures still to score before the climb
        self._incumbent: int | None = None  # its position in the history
        self._queue: list[Indices] = []

    def propose(self) -> list[Indices]:
        """Return a random start, or the next neighbor of the incumbent."""
        if self._starting > 0:
            return [self.legal.uniform(self.rng)]
        return [self._queue.pop()]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Move to a better architecture; start anew at a local optimum."""
        at, before = len(self.history) - 1, self._incumbent
        better = before is None or self.ranked([before, at])[0] == at
        if better:
            self._incumbent = at
        if self._starting > 0:
            self._starting -= 1
            if self._starting == 0:
                self._fill_queue()
        elif better:
            self._fill_queue()
        if self._starting == 0 and not self._queue:  # a local optimum
            self._starting, self._incumbent = self.starts, None

    def _fill_queue(self) -> None:
        assert self._incumbent is not None
        seen = set(self.history)
        neighbors = self.legal.neighbors(self.history[self._incumbent])
        order = self.rng.permutation(len(neighbors))
        self._queue = [neighbors[i] for i in order if neighbors[i] not in seen]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "starting": self._starting,
            "incumbent": self._incumbent,
            "queue": [list(indices) for indices in self._queue],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._starting = state["starting"]
        incumbent = state["incumbent"]
        with blaming("the state of the strategy"):
            for indices in state["queue"]:
                self.space.decode(indices)
        if incumbent is not None and incumbent >= len(self.history):
            raise RunError("cannot use the state of the strategy: its incumbent has no score")
        self._incumbent = incumbent
        self._queue = [tuple(indices) for indices in state["queue"]]


class _Form(StateForm):
    starting: Whole
    incumbent: Whole | None
    queue: list[list[int]]


LocalSearch.state_form = _Form
