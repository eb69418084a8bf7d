"""onnxruntime: sessions, outputs and time of a file, and whether it computes what the network does."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.errors import ExportError, OptionError
from ddpnas.export.deployed import Input

__all__ = ["Agreement", "Latency", "compare", "latency", "needs_onnx", "outputs", "session"]

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order stay far below it


def needs_onnx() -> None:
    """Raise :class:`OptionError` unless the packages of the extra ``onnx`` are installed."""
    missing = [
        name
        for name in ("onnx", "onnxscript", "onnxruntime")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise OptionError(
            f"ONNX needs the package {' and '.join(missing)}: pip install 'ddpnas[onnx]'"
        )


def session(file: Path | bytes) -> Any:
    """Return an onnxruntime session on one thread of the CPU; it has ``run``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = file if isinstance(file, bytes) else str(file)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def outputs(running: Any, takes: Input, raw: Tensor) -> Tensor:
    """Return the logits (N, classes) of a session for raw inputs, see :meth:`Input.feed`."""
    name = running.get_inputs()[0].name
    fixed = running.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else 100
    return torch.cat(
        [
            torch.from_numpy(running.run(None, {name: batch.numpy()})[0])
            for batch in takes.batches(raw, size)
        ]
    )


@dataclass(frozen=True)
class Agreement:
    """How a file's outputs compare to the network's.

    Attributes:
        images: inputs compared.
        largest_difference: between two logits, in absolute value.
        largest_output: logit in absolute value, what the difference is to be seen against.
        equal_top1: inputs for which both name the same class.
    """

    images: int
    largest_difference: float
    largest_output: float
    equal_top1: int

    def explain(self) -> str:
        """Return the comparison as a sentence."""
        return (
            f"{self.images:,} inputs compared: largest difference {self.largest_difference:.1e} "
            f"of outputs up to {self.largest_output:.3g}, same class for "
            f"{self.equal_top1:,} of {self.images:,}"
        )


def compare(network: nn.Module, given: Tensor, takes: Input, raw: Tensor) -> Agreement:
    """Return how the file's outputs compare to those of the deployed network.

    Args:
        network: as deployed, in evaluation mode on the CPU.
        given: the file's logits.
        takes: what goes into both.
        raw: the inputs.

    Raises:
        ExportError: they differ by more than ``TOLERANCE`` of the largest output, or name another
            class for an input on which the network's first two classes are further apart.
    """
    with torch.inference_mode():
        expected = torch.cat([network(batch) for batch in takes.batches(raw)]).float()
    difference = float((given - expected).abs().max())
    largest = float(expected.abs().max())
    other = given.argmax(dim=1) != expected.argmax(dim=1)
    found = Agreement(len(raw), difference, largest, int((~other).sum()))
    allowed = TOLERANCE * max(largest, 1e-6)
    chosen = expected.gather(1, given.argmax(dim=1, keepdim=True))[:, 0]
    wrong = expected.amax(dim=1) - chosen > 2 * allowed
    if not difference <= allowed or wrong.any():
        raise ExportError(f"the file does not compute what the network does: {found.explain()}")
    return found


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one input on one thread: median and interquartile range."""

    median_ms: float
    iqr_ms: float


def latency(running: Any, takes: Input, seconds: float = 1.0) -> Latency:
    """Return how long one input takes, measured for so many seconds after a warm-up."""
    from torch.utils.benchmark import Timer

    feed = {running.get_inputs()[0].name: takes.feed(takes.random(1)).numpy()}
    timer = Timer("run(None, feed)", globals={"run": running.run, "feed": feed}, num_threads=1)
    timer.timeit(20)
    measured = timer.blocked_autorange(min_run_time=seconds)
    return Latency(1000 * measured.median, 1000 * measured.iqr)
