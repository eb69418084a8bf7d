"""What a search needs of an evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from ddpnas.space.decisions import Architecture

__all__ = ["Evaluation", "Evaluator"]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator says of one architecture.

    Attributes:
        score: higher is better.
        details: whatever else was measured, by name; kept in the history of the search.
    """

    score: float
    details: Mapping[str, float] = field(default_factory=dict)


class Evaluator(Protocol):
    """Gives a score to each architecture of a batch.

    A search may save its checkpoint whenever preparing yields and after every evaluation that it
    is given. After an interruption the rest of the batch is prepared and evaluated by a fresh
    evaluator with the state restored, and the scores have to be those of the unbroken run.
    """

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[Mapping[str, float]]:
        """Do what has to come before the batch's scores in parts; yield what each measured.

        Among it ``epoch``, which part of ``epochs`` it was (from 1), and ``train_seconds``.
        Does the rest of it where it was interrupted, nothing where it was done.
        """

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield one evaluation for each architecture, in order."""

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state: tensors by name, and plain data for JSON."""

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
