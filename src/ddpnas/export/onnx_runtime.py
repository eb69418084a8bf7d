"""OnnxFile: a file in onnxruntime, its outputs, accuracy and time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.splits import Split
from ddpnas.errors import OptionError
from ddpnas.export._deployed import Input
from ddpnas.utils.onnx import need_onnx, quiet

__all__ = ["Latency", "OnnxFile", "latencies", "raw_inputs"]


_TURNS = 5


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one input on one thread: median and interquartile range."""

    median_ms: float
    iqr_ms: float


class OnnxFile:
    """A file written by :func:`ddpnas.export_onnx`, opened on one thread of the CPU.

    Args:
        source: its path, or its content.

    Attributes:
        session: of onnxruntime.
        metadata: texts by name.
        takes: what goes in, see :class:`ddpnas.export.Input`.
        classes: names by output.
        content: bytes of the file.

    Raises:
        OptionError: another file.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        need_onnx("onnxruntime")
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

        name = "the file" if isinstance(source, bytes) else str(source)
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise OptionError(f"there is no file {name}; `ddpnas export` writes one")
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except (Fail, InvalidGraph, InvalidProtobuf) as error:
            raise OptionError(f"{name} is no ONNX file that onnxruntime runs: {error}") from None
        try:
            self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
            shape, mean, std, classes = (
                tuple(json.loads(self.metadata[key]))
                for key in ("input_shape", "mean", "std", "classes")
            )
        except KeyError as error:
            raise OptionError(
                f"{name} was not written by `ddpnas export`: its metadata has no {error}"
            ) from None
        self.classes: tuple[str, ...] = classes
        self.content = content
        inside = self.metadata["preprocessing"] != "outside"
        declared = self.session.get_inputs()[0].type
        dtype = torch.int64 if "int64" in declared else torch.float32
        self.takes = Input(shape, mean, std, inside, dtype)

    def outputs(self, raw: Tensor) -> Tensor:
        """Return the logits (N, classes) of raw inputs, see :meth:`Input.feed`."""
        declared = self.session.get_inputs()[0]
        size = declared.shape[0] if isinstance(declared.shape[0], int) else 100
        parts = [
            torch.from_numpy(self.session.run(None, {declared.name: batch.numpy()})[0])
            for batch in self.takes.batches(raw, size)
        ]
        return torch.cat(parts)

    def count_right(self, data: Data, split: Split) -> int:
        """Return for how many of the split's inputs the largest output is that of their label."""
        return sum(
            int((self.outputs(raw).argmax(dim=1) == labels).sum())
            for raw, labels in raw_batches(data, split)
        )


def latencies(files: Sequence[OnnxFile], seconds: float = 1.0) -> list[Latency]:
    """Return how long one input takes in each file, measured in turns after a warm-up.

    What is measured is the processor's time of one thread: on an idle machine that is the time
    that passes, and on a busy one it does not count what others do.

    Args:
        files: to compare.
        seconds: of measuring each.
    """
    with quiet():  # the import looks for compilers
        from torch.utils.benchmark import Timer

    timers = []
    for file in files:
        feed = {file.session.get_inputs()[0].name: file.takes.feed(file.takes.random(1)).numpy()}
        timers.append(
            Timer(
                "run(None, feed)",
                globals={"run": file.session.run, "feed": feed},
                timer=time.process_time,
                num_threads=1,
            )
        )
    turns: list[list[float]] = [[] for _ in files]
    for turn in range(_TURNS + 1):
        for times, timer in zip(turns, timers, strict=True):
            measured = timer.blocked_autorange(min_run_time=seconds / _TURNS)
            if turn > 0:
                times += measured.times
    quartiles = [torch.tensor(times).quantile(torch.tensor([0.25, 0.5, 0.75])) for times in turns]
    return [Latency(1000 * float(q[1]), 1000 * float(q[2] - q[0])) for q in quartiles]


def raw_batches(data: Data, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all (inputs, labels) of the split, images as uint8: not normalised."""
    plain = replace(data, mean=(), std=())
    yield from Loader(plain, [split], torch.device("cpu")).eval_batches(500)


def raw_inputs(data: Data, split: Split, most: int) -> Tensor:
    """Return at most so many inputs of the split, evenly spaced, as in :func:`raw_batches`."""
    chosen = torch.linspace(0, len(split) - 1, min(most, len(split))).long()
    return torch.cat([raw for raw, _ in raw_batches(data, split.subset(chosen.tolist()))])
