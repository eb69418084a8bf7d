"""export_onnx(): a network as an ONNX file, checked in onnxruntime before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ddpnas.errors import ExportError
from ddpnas.export._file_costs import count
from ddpnas.export._graph import file_metadata, trace
from ddpnas.export.deployable import Deployable, as_deployable
from ddpnas.export.exported import Exported, check_outputs, write_checked
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.onnx import need_onnx, quiet
from ddpnas.utils.settings import checked

__all__ = ["export_onnx"]


def export_onnx(
    model: Deployable | TrainedModel,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    images: Tensor | None = None,
) -> Exported:
    """Write a network as an ONNX file, after checking it in onnxruntime.

    The graph has one input, ``input``, and one output, ``logits``. Auxiliary heads, and anything
    else that does not reach the output, are left out. Before the file is written, onnxruntime
    runs it: its outputs must match the network's within 0.1 % of the largest output.

    The metadata of the file says how to use it: ``classes``, ``mean``, ``std``, ``input_shape``,
    ``about`` and ``versions`` as JSON; ``input_layout`` and ``preprocessing`` as text, and
    ``params`` and ``macs`` where they can be counted in the file.

    Example:
        >>> import tempfile
        >>> from ddpnas.export import Deployable, Input, export_onnx
        >>> model = Deployable(torch.nn.Linear(16, 2), Input((16,)), classes=("cat", "dog"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export_onnx(model, f"{folder}/net.onnx")
        >>> done.agreement.equal_top1, done.counts.file.params
        (64, 34)

    Args:
        model: A network loaded with :func:`ddpnas.load`, or any other module in a
            :class:`ddpnas.export.Deployable`. The module itself stays unchanged.
        path: File to write, usually ``.onnx``.
        dynamic_batch: Whether the file takes any number of inputs at once; otherwise exactly one.
        images: Raw inputs to check the file with, uint8 (N, C, H, W) if the network normalizes.
            Noise by default.

    Raises:
        ExportError: If the network does not return one tensor (N, classes), torch cannot translate
            it, onnxruntime cannot run the file, or the outputs do not match.
        OptionError: If onnx, onnxscript or onnxruntime is missing, shapes do not match, or the path
            is not one.
    """
    need_onnx("onnx", "onnxscript", "onnxruntime")
    model = as_deployable(model)
    takes = model.takes
    path = checked("path of export_onnx()", str | Path, path)
    raw = takes.examples(images)
    network, program = trace(model, dynamic_batch)
    translated = _translate(program, dynamic_batch)
    file = translated.model_proto
    _strip(file)
    one = takes.feed(takes.random(1))
    counts = count(network, program, translated.exported_program, one, file)
    described = file_metadata(model)
    if counts is not None:
        found = {"params": counts.file.params, "macs": counts.file.macs}
        described |= {name: str(value) for name, value in found.items() if value is not None}
    for key, value in described.items():
        file.metadata_props.add(key=key, value=value)
    content: bytes = file.SerializeToString()
    agreement = check_outputs(network, OnnxFile(content).outputs(raw), takes, raw)
    return write_checked(content, path, takes, agreement, counts)


def _translate(program: ExportedProgram, dynamic_batch: bool) -> Any:
    """Return the ``torch.onnx.ONNXProgram``."""
    with quiet():
        try:
            return torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: "batch"},) if dynamic_batch else None,
            )
        except torch.onnx.OnnxExporterError as error:
            cause = " ".join(str(error.__cause__ or error).split())
            raise ExportError(f"torch cannot write this network as ONNX: {cause}") from error


def _strip(file: Any) -> None:
    """Remove the exporter's notes for debugging: they hold paths of this machine."""
    graph = file.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for part in (*graph.input, *graph.output):
        part.ClearField("metadata_props")
    file.ClearField("metadata_props")
