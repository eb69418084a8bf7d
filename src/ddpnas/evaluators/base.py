"""What a search needs from an evaluator, and a base class with the parts that most can inherit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.gradient import GradientStrategy

__all__ = ["BaseEvaluator", "Evaluation", "Evaluator"]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator found out about one architecture.

    Attributes:
        score: Higher is better. The strategy sees nothing else.
        details: Further measurements by name, kept in the history of the search. ``accuracy`` (a
            fraction) is shown by the command line and the report.

    Example:
        >>> Evaluation(0.91, {"accuracy": 0.91, "train_seconds": 12.5}).score
        0.91
    """

    score: float
    details: Mapping[str, float] = field(default_factory=dict)


class Evaluator(Protocol):
    """Gives a score to each architecture of a batch.

    A search saves a checkpoint whenever :meth:`prepare` yields and after each evaluation. After an
    interruption, a fresh evaluator with the restored state prepares and scores the rest of the
    batch. Its scores must be those of the unbroken run. :class:`ddpnas.testing.EvaluatorContract`
    tests this.

    :class:`BaseEvaluator` implements everything but :meth:`evaluate`.

    Attributes:
        lasting: Whether an architecture gets the same score whenever it is evaluated. A search
            then evaluates it once.
    """

    lasting: bool

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[Mapping[str, float]]:
        """Do the work that precedes the scores of a batch, in parts; yield after each part.

        Only the search loop calls it with the need to pause; :meth:`evaluate` calls it too, so that
        an evaluator also works without a loop. Prepared twice, a batch is prepared once: after an
        interruption the work continues where it stopped, and nothing is done where it was finished.

        Yields:
            What was measured in the part, at least ``epoch`` (its number, from 1), ``epochs`` (how
            many parts there are) and ``train_seconds``.
        """

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield one evaluation for each architecture, in order."""

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return one evaluation for each architecture, in order, and change nothing.

        Used after the search, with the state that it left.

        Raises:
            OptionError: The evaluator has nothing to judge by without further training.
        """

    def requires(self, strategy: Strategy) -> None:
        """Raise :class:`ddpnas.errors.OptionError` if this evaluator cannot serve the strategy."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that scores depend on, as plain data for JSON.

        A run continues only if they are equal. What only changes the speed does not belong here.
        """

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state: tensors by name, and plain data for JSON."""

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class BaseEvaluator:
    """An evaluator without state that serves any strategy: a subclass implements ``evaluate``.

    Example:
        >>> import ddpnas
        >>> class FewConvolutions(BaseEvaluator):
        ...     def evaluate(self, architectures):
        ...         for architecture in architectures:
        ...             yield Evaluation(-sum("conv" in o for o in architecture.values()))
        >>> data = ddpnas.load_data("sign-digits-small")
        >>> options = {"evaluations": 20}
        >>> result = ddpnas.search("toy", data, "random", strategy_options=options,
        ...                        evaluator=FewConvolutions())
        >>> len(result.history)
        20
    """

    lasting = False

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[Mapping[str, float]]:
        """Yield nothing: no score depends on what came before."""
        return iter(())

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield one evaluation for each architecture, in order."""
        raise NotImplementedError

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the evaluations that a search would get."""
        return list(self.evaluate(architectures))

    def requires(self, strategy: Strategy) -> None:
        """Serve any strategy that learns from scores.

        Raises:
            OptionError: It learns from a mixture of all options.
        """
        if isinstance(strategy, GradientStrategy):
            raise OptionError(
                f"{type(strategy).__name__} trains a mixture of all options, which "
                f"{type(self).__name__} cannot do; use the evaluator supernet"
            )

    def identity(self) -> dict[str, Any]:
        """Return no settings."""
        return {}

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return no state."""
        return {}, {}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
