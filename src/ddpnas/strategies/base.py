"""What all strategies share: asking twice gives the same, NaN is the worst, state restores exactly.

A strategy that follows a schedule has no fixed number of evaluations. It overrides ``scores_left``.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from ddpnas.errors import InfeasibleError, RunError
from ddpnas.generation.best import generate
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.legal import Choices, Indices, LegalSampler
from ddpnas.utils.read import Whole, blaming, checked_content
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = [
    "BaseStrategy",
    "StateForm",
    "Strategy",
    "frequencies",
    "recommend",
    "restored_array",
]

logger = logging.getLogger(__name__)

_STATE = "the state of the strategy"  # for messages


class BaseStrategy(ABC):
    """Asks for ``evaluations`` architectures and recommends the one that scored best.

    A subclass implements :meth:`propose`, and :meth:`learn` if it learns. Inside, an architecture
    is the tuple of its option indices.

    Args:
        space: Decisions to search over.
        seed: Seed for ``rng``.
        evaluations: Number of scores to ask for; None where a schedule decides.

    Attributes:
        space: The decisions.
        history: Option indices of every scored architecture, in order.
        scores: Finite scores in the same order, higher is better. One that failed has the worst
            of the others.
        failed: Positions in ``history`` whose scores were not finite.
        rng: The source of all randomness; saved and restored with the state.
        legal: Draws, neighbors and fair cycles that obey the rules of the space.
        stage: Number of prunings so far.
        expects_accuracies: Whether scores that are no accuracies mislead it.
        state_form: What :meth:`load_state_dict` of the class takes, a subclass of
            :class:`StateForm` where a strategy keeps more.

    Example:
        >>> from ddpnas.space import Decision, DecisionSpace
        >>> space = DecisionSpace([Decision("kernel", ("3", "5")), Decision("skip", ("no", "yes"))])
        >>> class Blind(BaseStrategy):
        ...     def propose(self):
        ...         return [self.legal.uniform(self.rng)]
        >>> strategy = Blind(space, seed=0, evaluations=3)
        >>> while not strategy.done:
        ...     strategy.tell(batch := strategy.ask(), [0.5] * len(batch))
        >>> len(strategy.history)
        3
    """

    expects_accuracies = False
    state_form: ClassVar[Any]

    @checks_arguments
    def __init__(self, space: DecisionSpace, seed: Seed, evaluations: Count | None) -> None:
        self.space = space
        self.stage = 0
        self.history: list[Indices] = []
        self.scores: list[float] = []
        self.failed: set[int] = set()
        self._total = evaluations
        self._asked: list[Indices] | None = None
        self.rng = np.random.default_rng(seed)
        self.legal = LegalSampler(space)
        self._sizes = tuple(len(d.options) for d in space.decisions)

    def scores_left(self) -> int:
        """Return how many scores are still needed; a strategy with a schedule overrides it."""
        assert self._total is not None, "a strategy without a number of evaluations overrides it"
        return self._total - len(self.history)

    @property
    def evaluations(self) -> int:
        """Number of scores that the whole search asks for, from start to end.

        On a schedule whose fair cycles meet rules of the space, the best estimate so far.
        """
        return max(1, len(self.history) + self.scores_left())

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask. Something is always scored first."""
        return bool(self.history) and self.scores_left() <= 0

    @property
    def distribution(self) -> JointDistribution:
        """Frequencies of the options among the best quarter of what has a finite score."""
        good = [at for at in range(len(self.history)) if at not in self.failed]
        return frequencies(
            self.space, [self.history[at] for at in good], [self.scores[at] for at in good]
        )

    @property
    def architecture(self) -> Architecture:
        """The best-scored architecture that obeys all rules; without one, the most likely."""
        found = self.first_allowed(self.ranked(range(len(self.scores))))
        return recommend(self.distribution, self.space) if found is None else found

    def ranked(self, positions: Iterable[int]) -> list[int]:
        """Return positions in the history, the best score first and those that failed last."""
        return sorted(positions, key=lambda at: (at in self.failed, -self.scores[at]))

    def first_allowed(self, positions: Iterable[int]) -> Architecture | None:
        """Return the first architecture of the history that obeys all rules and did not fail."""
        for at in positions:
            architecture = self.space.decode(self.history[at])
            if at not in self.failed and all(r.holds(architecture) for r in self.space.rules):
                return architecture
        return None

    def ask(self) -> list[Architecture]:
        """Return the architectures to score together; the same until they are told."""
        if self.done:
            raise RuntimeError("the search is done; there is nothing to ask")
        if self._asked is None:
            left = None if self._total is None else self._total - len(self.history)
            self._asked = [tuple(map(int, indices)) for indices in self.propose()][:left]
        return [self.space.decode(indices) for indices in self._asked]

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """Learn the scores of the batch that was asked.

        Args:
            architectures: What :meth:`ask` returned.
            scores: One score each, higher is better. A score that is not finite counts as the
                worst of all, also of those told later; ``failed`` has its position.

        Raises:
            ValueError: This is not the batch that was asked, or it has not one score each.
        """
        told = [self.space.encode(a) for a in architectures]
        if told != self._asked or len(scores) != len(told):
            raise ValueError("tell takes the batch that was asked, with one score each")
        begin = len(self.history)
        missing = [at for at, score in enumerate(scores, begin) if not math.isfinite(score)]
        if missing:
            logger.warning(
                "%d of %d scores are NaN and count as the worst", len(missing), len(scores)
            )
        self.history.extend(told)
        self.scores.extend(map(float, scores))
        self.failed.update(missing)
        self._level_failed()
        self._asked = None
        self.learn(told, self.scores[begin:])

    def _level_failed(self) -> None:
        """Give what failed the worst finite score; 0 until there is one."""
        finite = (score for at, score in enumerate(self.scores) if at not in self.failed)
        worst = min(finite, default=0.0) if self.failed else 0.0
        for at in self.failed:
            self.scores[at] = worst

    @abstractmethod
    def propose(self) -> Sequence[Indices] | Choices:
        """Return the next architectures, at least one, each as its option indices."""

    def learn(  # noqa: B027 - a strategy may have nothing to learn
        self, architectures: list[Indices], scores: list[float]
    ) -> None:
        """Learn finite scores, which are in the history already."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            "history": [list(indices) for indices in self.history],
            "scores": list(self.scores),
            "failed": sorted(self.failed),
            "stage": self.stage,
            "asked": None if self._asked is None else [list(a) for a in self._asked],
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly.

        Raises:
            RunError: It is the state of something else.
        """
        form = checked_content(state, self.state_form, _STATE)
        with blaming(_STATE):
            for indices in (*form["history"], *(form["asked"] or ())):
                self.space.decode(indices)
        if len(form["scores"]) != len(form["history"]):
            raise RunError(
                f"cannot use {_STATE}: it has {len(form['scores'])} scores for "
                f"{len(form['history'])} architectures"
            )
        if any(at >= len(form["history"]) for at in form["failed"]):
            raise RunError(f"cannot use {_STATE}: what failed is not in its history")
        self.history = [tuple(indices) for indices in form["history"]]
        self.scores, self.failed = form["scores"], set(form["failed"])
        self.stage = form["stage"]
        asked = form["asked"]
        self._asked = None if asked is None else [tuple(a) for a in asked]
        self.rng.bit_generator.state = form["rng"]

    def restored_distribution(self, form: Mapping[str, Any]) -> JointDistribution:
        """Return the distribution in a state, which has to be over the decisions of the space."""
        with blaming(_STATE):
            found = JointDistribution.from_dict(form)
        if found.decisions != tuple(self.space.decisions):
            raise RunError(f"cannot use {_STATE}: its distribution is over other decisions")
        return found


def restored_array(value: Any, like: npt.ArrayLike, name: str) -> Any:
    """Return an array, or a number, of a state.

    Args:
        value: Lists of numbers, or a number.
        like: One of the shape and the type that it must have.
        name: Its name in the state.

    Raises:
        RunError: It has another shape.

    Example:
        >>> restored_array([1, 2], np.zeros(2), "theta"), restored_array(3, 0.5, "mean")
        (array([1., 2.]), 3.0)
    """
    wanted = np.asarray(like)
    try:
        found = np.array(value, dtype=wanted.dtype)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or found.shape != wanted.shape:
        shape = f"{'x'.join(map(str, wanted.shape))} numbers" if wanted.ndim else "a number"
        raise RunError(f"cannot use {_STATE}: {name} must be {shape}")
    return found if wanted.ndim else found.item()


class _SeedForm(TypedDict):
    state: Annotated[int, Range(0, 2**128 - 1)]
    inc: Annotated[int, Range(0, 2**128 - 1)]


class _RandomForm(TypedDict):
    """The state of NumPy's PCG64."""

    bit_generator: Literal["PCG64"]
    state: _SeedForm
    has_uint32: Literal[0, 1]
    uinteger: Annotated[int, Range(0, 2**32 - 1)]


class StateForm(TypedDict):
    """What a checkpoint holds of every strategy; most hold more."""

    history: list[list[int]]
    scores: list[float]
    failed: list[Whole]
    stage: Whole
    asked: list[list[int]] | None
    rng: _RandomForm


BaseStrategy.state_form = StateForm


def frequencies(
    space: DecisionSpace, history: Sequence[Indices], scores: Sequence[float]
) -> JointDistribution:
    """Return how often each option occurs in the best quarter, one occurrence each added."""
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[: -(-len(scores) // 4)]
    rows = [np.ones(len(d.options)) for d in space.decisions]
    for at in best:
        for row, index in zip(rows, history[at], strict=True):
            row[index] += 1
    return JointDistribution.uniform(space.decisions).with_rows(rows)


def recommend(distribution: JointDistribution, space: DecisionSpace) -> Architecture:
    """Return the most likely architecture that obeys all rules, final ones included.

    Made of survivors where they allow one, and proven the optimum by :func:`generate` where the
    space has rules.
    """
    if not space.rules:
        return distribution.mode()
    try:
        return generate(distribution, space, survivors_only=True).architecture
    except InfeasibleError:
        return generate(distribution, space).architecture


class Strategy(Protocol):
    """What a search needs of a strategy.

    Your own strategy is a class with these members, or derives from
    :class:`ddpnas.strategies.BaseStrategy`, which has them. :func:`ddpnas.search` makes it as
    ``strategy(space, seed=seed, **strategy_options)``, and
    :class:`ddpnas.testing.StrategyContract` tests it.
    """

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask."""

    @property
    def stage(self) -> int:
        """Number of prunings so far; stays 0 in a strategy that prunes nothing."""

    @property
    def evaluations(self) -> int:
        """Number of architectures that the whole search asks for, from start to end.

        On a schedule whose fair cycles meet rules of the space, the best estimate so far.
        """

    @property
    def distribution(self) -> JointDistribution:
        """What was learned so far."""

    @property
    def architecture(self) -> Architecture:
        """The architecture recommended so far."""

    def ask(self) -> list[Architecture]:
        """Return the architectures to score together; the same until they are told."""

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """Learn the scores (higher is better) of the batch that was asked."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
