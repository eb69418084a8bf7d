"""What int8 costs and gains: accuracy, size and time of two files beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddpnas.data.data import Data
from ddpnas.data.splits import Split
from ddpnas.export.onnx_runtime import Latency, OnnxFile, latencies

__all__ = ["Measured", "measure_files", "verdict"]


@dataclass(frozen=True)
class Measured:
    """A file on the images of a split.

    Attributes:
        bytes: size of the file.
        right: images whose class it names.
        images: in the split.
        latency: of one image.
    """

    bytes: int
    right: int
    images: int
    latency: Latency

    @property
    def accuracy(self) -> float:
        """Fraction right."""
        return self.right / self.images


def measure_files(files: Sequence[OnnxFile], data: Data, split: Split) -> list[Measured]:
    """Return size, accuracy and time of each file, the times measured in turns."""
    times = latencies(files)
    return [
        Measured(len(file.content), file.count_right(data, split), len(split), latency)
        for file, latency in zip(files, times, strict=True)
    ]


def verdict(before: Measured, after: Measured) -> str:
    """Return in a sentence what the int8 file gained or lost against the float one."""
    lost = before.right - after.right
    points = 100 * abs(lost) / before.images
    accuracy = (
        f"{points:.2f} points {'less' if lost > 0 else 'more'} accurate ({abs(lost):,} of "
        f"{before.images:,} images)"
        if lost
        else "as accurate"
    )
    size = f"{after.bytes / before.bytes:.2f} times the size"
    ratio = after.latency.median_ms / before.latency.median_ms
    time = f"{ratio:.2f} times the time on this machine"
    worse = [
        *(["less accurate"] if lost > 0 else []),
        *(["slower"] if ratio > 1.05 else []),
        *(["larger"] if after.bytes > before.bytes else []),
    ]
    end = f": int8 is WORSE here in being {' and '.join(worse)}" if worse else ""
    return f"int8 against float: {accuracy}, {size}, {time}{end}"
