"""LatencyConfig: how latency is measured."""

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
        batch: inputs at once.
        threads: of one operation.
        architectures: how many random networks are measured whole, to fit and check the table.
        seed: of these.
        seconds: how long a thing is run in a round.
        rounds: in which everything is timed.
        most_rounds: how many more there may be for what has not settled, in all.
        spread: settled is what has two rounds whose medians differ by less than this part, the two
            lowest, if the times of the lowest are not scattered.
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
                raise OptionError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.most_rounds < self.rounds:
            raise OptionError(f"most_rounds is at least rounds, {self.rounds}")
        if not self.seconds > 0 or not self.spread > 0:
            raise OptionError("seconds and spread are above 0")
        if self.architectures < LEAST_ARCHITECTURES:
            raise OptionError(
                f"architectures is at least {LEAST_ARCHITECTURES}, not {self.architectures}: that "
                f"times add up is checked, not assumed"
            )
