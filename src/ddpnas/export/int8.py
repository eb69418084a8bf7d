"""quantize_onnx(): an int8 file of a float one, calibrated on training images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpnas.export.deployable import Input
from ddpnas.export.exported import Agreement, Exported, write_checked
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.utils.onnx import need_onnx, quiet
from ddpnas.utils.settings import checked

__all__ = ["quantize_onnx"]


def quantize_onnx(source: str | Path, path: str | Path, images: Tensor) -> Exported:
    """Write the int8 form of a float ONNX file.

    This is static quantization by onnxruntime. Weights are signed with one scale per channel,
    activations are unsigned. Both are written as pairs of QuantizeLinear and DequantizeLinear,
    which runtimes turn into integer arithmetic. The scale of an activation comes from its minimum
    and maximum over the given images. Input, output and a normalization inside the graph keep
    their types.

    Weights use 7 of their 8 bits. With 8 bits, x86 processors without VNNI instructions overflow
    silently, so that the accuracy measured here would not hold there.

    Example:
        >>> import tempfile, torch
        >>> from ddpnas.export import Deployable, Input, export_onnx, quantize_onnx
        >>> model = Deployable(torch.nn.Linear(16, 2), Input((16,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export_onnx(model, f"{folder}/net.onnx")
        ...     small = quantize_onnx(done.path, f"{folder}/int8.onnx", torch.randn(100, 16))
        >>> small.agreement.inputs
        100

    Args:
        source: File written by :func:`ddpnas.export_onnx`.
        path: Int8 file to write.
        images: Raw inputs of the training split, as for :func:`ddpnas.export_onnx`. A few hundred
            are enough.

    Raises:
        OptionError: If onnx or onnxruntime is missing, or the images have another shape.
    """
    need_onnx("onnx", "onnxruntime")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = checked("path of quantize_onnx()", str | Path, path)
    before = OnnxFile(checked("source of quantize_onnx()", str | Path, source))
    images = before.takes.examples(checked("images of quantize_onnx()", Tensor, images))
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(quantized),
            _Images(before.takes, images, onnx.load(prepared).graph.input[0]),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=_normalization(onnx.load(prepared)),
        )
        file = onnx.load(quantized)
    described = onnx.load(source, load_external_data=False).metadata_props
    file.ClearField("metadata_props")
    for entry in described:
        file.metadata_props.add(key=entry.key, value=entry.value)
    file.metadata_props.add(key="quantization", value=f"int8, calibrated on {len(images)} images")
    content: bytes = file.SerializeToString()
    agreement = Agreement.of(OnnxFile(content).outputs(images), before.outputs(images))
    return write_checked(content, path, before.takes, agreement)


def _normalization(file: Any) -> list[str]:
    """Return the names of the nodes that normalize images: their inputs are pixel values."""
    constants = {"pixel_mean", "pixel_scale"}
    return [node.name for node in file.graph.node if constants & set(node.input)]


class _Images:
    """The reader that onnxruntime's calibration asks for: batches, then None."""

    def __init__(self, takes: Input, images: Tensor, declared: Any) -> None:
        first = declared.type.tensor_type.shape.dim[0]
        size = first.dim_value if first.HasField("dim_value") else 50
        self._feeds = ({declared.name: batch.numpy()} for batch in takes.batches(images, size))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        return next(self._feeds, None)
