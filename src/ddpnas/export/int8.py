"""quantise_onnx(): an int8 file of a float one, calibrated on training images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpnas.export._deployed import Input
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.utils.files import write_atomic
from ddpnas.utils.onnx import need_onnx, quiet

__all__ = ["Quantised", "quantise_onnx"]


@dataclass(frozen=True)
class Quantised:
    """An int8 file.

    Attributes:
        path: of the file.
        bytes: its size.
        calibrated_on: images that were run through the float network.
    """

    path: Path
    bytes: int
    calibrated_on: int


def quantise_onnx(source: str | Path, path: str | Path, images: Tensor) -> Quantised:
    """Write the int8 form of a float ONNX file; return what it is.

    Static quantisation by onnxruntime: signed weights with a scale for each channel and unsigned
    activations, written as pairs of QuantizeLinear and DequantizeLinear, which runtimes turn into
    integer arithmetic. Weights use 7 of the 8 bits: with all of them, x86 processors without VNNI
    instructions overflow silently, and the accuracy measured here would not hold there. The scale
    of each activation comes from the least and largest value that it takes on the given images.
    Input and output stay as they are in the float file, and so does a normalisation inside.

    Args:
        source: written by :func:`ddpnas.export_onnx`.
        path: of the int8 file.
        images: of the training split, as for :func:`ddpnas.export_onnx`; some hundreds do.

    Raises:
        OptionError: onnx or onnxruntime is missing; images of another shape.
    """
    need_onnx("onnx", "onnxruntime")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    takes = OnnxFile(source).takes
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            _Images(takes, images, onnx.load(prepared).graph.input[0]),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=_normalisation(onnx.load(prepared)),
        )
        file = onnx.load(quantised)
    described = onnx.load(source, load_external_data=False).metadata_props
    file.ClearField("metadata_props")
    for entry in described:
        file.metadata_props.add(key=entry.key, value=entry.value)
    file.metadata_props.add(key="quantisation", value=f"int8, calibrated on {len(images)} images")
    content: bytes = file.SerializeToString()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return Quantised(path, len(content), len(images))


def _normalisation(file: Any) -> list[str]:
    """Return the names of the nodes that normalise images: they take whole pixel values."""
    constants = {"pixel_mean", "pixel_scale"}
    return [node.name for node in file.graph.node if constants & set(node.input)]


class _Images:
    """What onnxruntime's calibration reads: one batch after another, then None."""

    def __init__(self, takes: Input, images: Tensor, declared: Any) -> None:
        first = declared.type.tensor_type.shape.dim[0]
        size = first.dim_value if first.HasField("dim_value") else 50
        self._feeds = ({declared.name: batch.numpy()} for batch in takes.batches(images, size))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch."""
        return next(self._feeds, None)
