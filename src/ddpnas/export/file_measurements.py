"""FileMeasurement: size, accuracy and latency of exported files, to compare float and int8."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ddpnas.data.data import Data
from ddpnas.data.splits import Split
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.utils.onnx import quiet

__all__ = ["FileMeasurement", "measure_files", "measure_latencies", "summarize_int8"]


_TURNS = 5


@dataclass(frozen=True)
class FileMeasurement:
    """Size of a file, its accuracy on a split, and its latency on this machine.

    Example:
        >>> FileMeasurement(1000, 190, 200, latency_ms=2.0, latency_iqr_ms=0.1).accuracy
        0.95

    Attributes:
        bytes: Size of the file.
        right: Number of images whose class it predicts correctly.
        images: Number of images in the split.
        latency_ms: Milliseconds for one image on one thread, median.
        latency_iqr_ms: Interquartile range of these milliseconds.
    """

    bytes: int
    right: int
    images: int
    latency_ms: float
    latency_iqr_ms: float

    @property
    def accuracy(self) -> float:
        """Fraction of the images whose class it predicts correctly."""
        return self.right / self.images


def measure_files(files: Sequence[OnnxFile], data: Data, split: Split) -> list[FileMeasurement]:
    """Measure size, accuracy and latency of each file.

    Example:
        >>> import tempfile, ddpnas
        >>> from ddpnas.export import Deployable, Input
        >>> data = ddpnas.make_data((torch.randn(20, 4), torch.arange(20) % 2))
        >>> model = Deployable(torch.nn.Linear(4, 2), Input((4,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = OnnxFile(ddpnas.export_onnx(model, f"{folder}/net.onnx").path)
        >>> [measured] = measure_files([file], data, data.valid)
        >>> measured.images
        4

    Args:
        files: Files to compare, opened. Their latencies are measured in turns.
        data: Data set that holds the split.
        split: Images to measure the accuracy on.
    """
    latencies = measure_latencies(files)
    return [
        FileMeasurement(
            len(file.content), file.count_right(data, split), len(split), median_ms, iqr_ms
        )
        for file, (median_ms, iqr_ms) in zip(files, latencies, strict=True)
    ]


def measure_latencies(files: Sequence[OnnxFile], seconds: float = 1.0) -> list[tuple[float, float]]:
    """Return the milliseconds that one input takes in each file: (median, interquartile range).

    The clock is the processor time of one thread. On an idle machine that equals the time that
    passes; on a busy one it leaves out what other programs use. Files are measured in turns after
    one warm-up turn, so that a change of the clock rate affects all of them.

    Example:
        >>> import tempfile
        >>> from ddpnas.export import Deployable, Input, export_onnx
        >>> model = Deployable(torch.nn.Linear(16, 2), Input((16,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = OnnxFile(export_onnx(model, f"{folder}/net.onnx").path)
        >>> [(median_ms, iqr_ms)] = measure_latencies([file], seconds=0.05)
        >>> median_ms > 0
        True

    Args:
        files: Files to compare, opened.
        seconds: Time to measure each file for, in all turns together.
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
    return [(1000 * float(q[1]), 1000 * float(q[2] - q[0])) for q in quartiles]


def summarize_int8(before: FileMeasurement, after: FileMeasurement) -> str:
    """Return in one sentence what an int8 file gains or loses against the float file.

    Example:
        >>> before = FileMeasurement(1000, 190, 200, 2.0, 0.1)
        >>> summarize_int8(before, FileMeasurement(300, 190, 200, 1.0, 0.1))
        'int8 against float: same accuracy, 0.30 times the size, 0.50 times the latency on ...'

    Args:
        before: Measurement of the float file.
        after: Measurement of the int8 file, on the same images.
    """
    lost = before.right - after.right
    points = 100 * abs(lost) / before.images
    accuracy = (
        f"accuracy {points:.2f} points {'lower' if lost > 0 else 'higher'} ({abs(lost):,} of "
        f"{before.images:,} images)"
        if lost
        else "same accuracy"
    )
    size = f"{after.bytes / before.bytes:.2f} times the size"
    ratio = after.latency_ms / before.latency_ms
    time = f"{ratio:.2f} times the latency on this machine"
    worse = [
        *(["less accurate"] if lost > 0 else []),
        *(["slower"] if ratio > 1.05 else []),
        *(["larger"] if after.bytes > before.bytes else []),
    ]
    end = f". The int8 file is WORSE: {' and '.join(worse)}" if worse else ""
    return f"int8 against float: {accuracy}, {size}, {time}{end}"
