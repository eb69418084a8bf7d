"""LatencyConfig: on what, for how long and how often latency is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ddpnas.costs._additivity import LEAST_ARCHITECTURES
from ddpnas.errors import OptionError
from ddpnas.utils.settings import Count, Seed, Workers, checked_fields
from ddpnas.utils.shapes import Range

__all__ = ["LatencyConfig"]


@dataclass(frozen=True)
class LatencyConfig:
    """How latency is measured.

    Attributes:
        device: "cpu" or "cuda".
        backend: "torch", operation by operation, or "onnxruntime", which fuses what it can.
        batch: Number of inputs at once.
        threads: Number of threads of one operation.
        architectures: Number of random networks that are measured whole, to fit and check the
            table; at least 4.
        seed: Seed for drawing them.
        seconds: How long each unit or network runs in a round.
        rounds: Number of rounds in which everything is timed.
        most_rounds: Largest number of rounds for whatever has not settled by then.
        spread: A timing has settled when the medians of its two fastest rounds differ by less than
            this fraction and the times of the fastest one are not scattered.
        minutes: How long all of it may take, about. Where widths are undecided, there may be more
            operations than that allows: some are timed, and the others interpolated.

    Raises:
        OptionError: A setting is not one of those possible.

    Example:
        >>> LatencyConfig(backend="onnxruntime", batch=8).rounds
        3
    """

    device: Literal["cpu", "cuda"] = "cpu"
    backend: Literal["torch", "onnxruntime"] = "torch"
    batch: Count = 1
    threads: Workers = 1
    architectures: Annotated[int, Range(LEAST_ARCHITECTURES, 100_000)] = 20
    seed: Seed = 0
    seconds: Annotated[float, Range(above=0, most=3600)] = 0.2
    rounds: Annotated[int, Range(1, 1000)] = 3
    most_rounds: Annotated[int, Range(1, 1000)] = 9
    spread: Annotated[float, Range(above=0, most=100)] = 0.05
    minutes: Annotated[float, Range(above=0, most=10_000)] = 5.0

    def __post_init__(self) -> None:
        checked_fields(self, "a latency measurement")
        if self.most_rounds < self.rounds:
            raise OptionError(
                f"most_rounds of a latency measurement must be at least rounds, {self.rounds}, not "
                f"{self.most_rounds}"
            )
