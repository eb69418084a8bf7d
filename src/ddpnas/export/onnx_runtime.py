"""OnnxFile: an exported file in onnxruntime, and raw inputs to run it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.splits import Split
from ddpnas.errors import ExportError, OptionError
from ddpnas.export.deployable import Input
from ddpnas.utils.onnx import need_onnx
from ddpnas.utils.read import Size, checked_content, parse_json, read_file
from ddpnas.utils.settings import Interpolation

__all__ = ["OnnxFile", "raw_inputs"]

_MOST = 2 * 1024**3  # bytes: the most that one ONNX file can hold
_METADATA = {  # written by `ddpnas export` as JSON
    "input_shape": tuple[Size, ...],
    "mean": tuple[float, ...],
    "std": tuple[float, ...],
    "classes": tuple[str, ...],
}


_TYPES = {  # of an input, as onnxruntime spells them
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(int8)": torch.int8,
    "tensor(int16)": torch.int16,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
    "tensor(uint8)": torch.uint8,
    "tensor(uint16)": torch.uint16,
    "tensor(uint32)": torch.uint32,
    "tensor(uint64)": torch.uint64,
    "tensor(bool)": torch.bool,
}


class OnnxFile:
    """A file written by :func:`ddpnas.export_onnx`, opened on one thread of the CPU.

    Example:
        >>> import tempfile
        >>> from ddpnas.export import Deployable, Input, OnnxFile, export_onnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = Deployable(torch.nn.Linear(16, 2), Input((16,)), ("cat", "dog"))
        ...     file = OnnxFile(export_onnx(model, f"{folder}/net.onnx").path)
        >>> file.classes, file.outputs(torch.zeros(3, 16)).shape
        (('cat', 'dog'), torch.Size([3, 2]))

    Args:
        source: Path of the file, or its content.

    Attributes:
        session: The ``onnxruntime.InferenceSession``.
        metadata: Texts by name, see :func:`ddpnas.export_onnx`.
        takes: Inputs that the file accepts.
        classes: Class names in the order of the outputs.
        content: Content of the file.

    Raises:
        OptionError: If there is no such file, or ``ddpnas export`` did not write it.
        ExportError: If onnxruntime cannot open the content, or takes no such inputs from NumPy.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        need_onnx("onnxruntime")
        import onnxruntime

        name = "the file" if isinstance(source, bytes) else str(source)
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise OptionError(f"there is no file {name}; `ddpnas export` writes one")
        content = source if isinstance(source, bytes) else read_file(source, _MOST, OptionError)
        options = onnxruntime.SessionOptions()
        # One thread: results do not depend on the machine, and timings compare files, not cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except _runtime_errors() as error:
            kind = ExportError if isinstance(source, bytes) else OptionError
            raise kind(f"onnxruntime cannot open {name} as an ONNX file: {error}") from None
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        if lacking := [key for key in ("preprocessing", *_METADATA) if key not in self.metadata]:
            raise OptionError(
                f"`ddpnas export` did not write {name}: its metadata has no {lacking[0]!r}"
            )
        shape, mean, std, self.classes = (
            checked_content(
                parse_json(self.metadata[key], f"{key} in {name}", OptionError),
                of_key,
                f"{key} in {name}",
                OptionError,
            )
            for key, of_key in _METADATA.items()
        )
        interpolation = checked_content(
            self.metadata.get("interpolation", "bilinear"),
            Interpolation,
            f"interpolation in {name}",
            OptionError,
        )
        self.content = content
        inside = self.metadata["preprocessing"] != "outside"
        declared = self.session.get_inputs()[0].type
        if declared not in _TYPES:
            raise ExportError(f"onnxruntime takes no inputs of type {declared} from NumPy")
        dtype = torch.float32 if mean else _TYPES[declared]
        self.takes = Input(shape, mean, std, inside, dtype, interpolation)

    def outputs(self, raw: Tensor) -> Tensor:
        """Return the logits (N, classes) of N raw inputs, see :meth:`Input.feed`.

        Raises:
            ExportError: onnxruntime cannot run the file.
        """
        declared = self.session.get_inputs()[0]
        size = declared.shape[0] if isinstance(declared.shape[0], int) else 100
        try:
            parts = [
                torch.from_numpy(self.session.run(None, {declared.name: batch.numpy()})[0])
                for batch in self.takes.batches(raw, size)
            ]
        except _runtime_errors() as error:
            raise ExportError(f"onnxruntime cannot run the file: {error}") from None
        return torch.cat(parts)

    def count_right(self, data: Data, split: Split) -> int:
        """Return the number of inputs in a split whose class the file predicts correctly."""
        return sum(
            int((self.outputs(raw).argmax(dim=1) == labels).sum())
            for raw, labels in _raw_batches(data, split)
        )


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the errors of onnxruntime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = (value for value in vars(state).values() if isinstance(value, type))
    return tuple(kind for kind in found if issubclass(kind, Exception))


def _raw_batches(data: Data, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all (inputs, labels) of a split, images as uint8: not normalized."""
    plain = replace(data, mean=(), std=())
    yield from Loader(plain, [split], torch.device("cpu")).eval_batches(500)


def raw_inputs(data: Data, split: Split, limit: int) -> Tensor:
    """Return up to ``limit`` evenly spaced inputs of a split, before normalization.

    Example:
        >>> import ddpnas
        >>> images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
        >>> data = ddpnas.make_data((images, torch.arange(10) % 2))
        >>> raw_inputs(data, data.train, 4).dtype
        torch.uint8

    Args:
        data: The data set.
        split: One of its splits, such as ``data.valid``.
        limit: Largest number of inputs to return.

    Returns:
        Images as uint8 (N, C, H, W), other inputs as (N, *shape).
    """
    chosen = torch.linspace(0, len(split) - 1, min(limit, len(split))).long()
    return torch.cat([raw for raw, _ in _raw_batches(data, split.subset(chosen.tolist()))])
