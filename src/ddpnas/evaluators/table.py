"""TableEvaluator: scores that are looked up or computed, without any training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ddpnas.benchmarks.table import Table
from ddpnas.benchmarks.tables import load_table
from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.utils.settings import Epochs, checked_fields

__all__ = ["TableConfig", "TableEvaluator"]

Scores = Mapping[Architecture, float] | Callable[[Architecture], float]


@dataclass(frozen=True)
class TableConfig:
    """Which benchmark table gives the scores.

    Args:
        table: A table of the package, "nasbench201" or "nasbench-macro". Its decisions must be
            those of the searched space.
        epochs: Score after a training of this many epochs. None is the shortest in the table.
    """

    table: str = "nasbench201"
    epochs: Epochs | None = None

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'table'")


class TableEvaluator(BaseEvaluator):
    """Takes scores from a benchmark table, a mapping or a function, in microseconds.

    Use it to compare strategies on known scores, or to try a search before you pay for training.

    Args:
        scores: A mapping from architectures to scores, or a function of an architecture.
        settings: What the scores depend on, as plain data. A run is resumed only with equal ones.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> by_length = TableEvaluator(lambda architecture: len(space.format(architecture)))
        >>> [found] = by_length.evaluate([space.decode([0] * len(space.decisions))])
        >>> found.score > 0
        True
    """

    lasting = True

    def __init__(self, scores: Scores, settings: Mapping[str, Any] | None = None) -> None:
        self._scores = scores
        self._settings = dict(settings or {})

    @classmethod
    def from_benchmark(cls, space: DecisionSpace, config: TableConfig) -> TableEvaluator:
        """Return the evaluator that scores by validation accuracy in a benchmark table.

        Args:
            space: The searched space.
            config: Which table, and after how many epochs of training.

        Raises:
            SpaceError: The table is about other decisions.
            OptionError: There is no such table, or it does not have these epochs.
        """
        table: Table = load_table(config.table)
        if table.space.decisions != space.decisions:
            raise SpaceError(
                f"benchmark table {table.name!r} does not have the decisions of this space; search "
                f"space {table.name!r}, or use another evaluator"
            )
        epochs = table.check_epochs(table.epochs[0] if config.epochs is None else config.epochs)
        return cls(lambda asked: table.query(asked, epochs).valid, asdict(config))

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the score of each architecture, in order; it is also the detail ``accuracy``.

        Raises:
            ArchitectureError: A mapping has no score for one of them.
        """
        for architecture in architectures:
            if callable(self._scores):
                score = float(self._scores(architecture))
            elif architecture in self._scores:
                score = float(self._scores[architecture])
            else:
                raise ArchitectureError(f"the table has no score for {dict(architecture)}")
            yield Evaluation(score, {"accuracy": score})

    def identity(self) -> dict[str, Any]:
        """Return the settings given."""
        return dict(self._settings)
