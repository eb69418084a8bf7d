"""LatencyConfig: on what, for how long and how often latency is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ddpnas.costs._additivity import LEAST_ARCHITECTURES
from ddpnas.errors import OptionError, nearest
from ddpnas.utils.options import check_seed

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

    Raises:
        OptionError: A setting is not one of those possible.

    Example:
        >>> LatencyConfig(backend="onnxruntime", batch=8).rounds
        3
    """

    device: str = "cpu"
    backend: Literal["torch", "onnxruntime"] = "torch"
    batch: int = 1
    threads: int = 1
    architectures: int = 20
    seed: int = 0
    seconds: float = 0.2
    rounds: int = 3
    most_rounds: int = 9
    spread: float = 0.05

    def __post_init__(self) -> None:
        if self.backend not in ("torch", "onnxruntime"):
            raise OptionError(nearest("backend", self.backend, ("torch", "onnxruntime")))
        if self.device not in ("cpu", "cuda"):
            raise OptionError(nearest("device", self.device, ("cpu", "cuda")))
        check_seed(self.seed)
        for name in ("batch", "threads", "rounds"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.most_rounds < self.rounds:
            raise OptionError(f"most_rounds must be at least rounds, {self.rounds}")
        if not self.seconds > 0 or not self.spread > 0:
            raise OptionError("seconds and spread must be above 0")
        if self.architectures < LEAST_ARCHITECTURES:
            raise OptionError(
                f"architectures must be at least {LEAST_ARCHITECTURES}, not {self.architectures}: "
                f"ddpnas checks that times add up"
            )
