"""export_onnx(): a network as an ONNX file, checked in onnxruntime before it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ddpnas._version import __version__
from ddpnas.errors import ExportError
from ddpnas.export._agreement import Agreement, compare
from ddpnas.export._deployed import Input, deploy, describe
from ddpnas.export.file_costs import Counts, count
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import write_atomic
from ddpnas.utils.onnx import need_onnx, quiet

__all__ = ["Exported", "export_onnx", "metadata"]


@dataclass(frozen=True)
class Exported:
    """A file and what is known of it.

    Attributes:
        path: of the file.
        bytes: its size.
        takes: what goes in.
        agreement: of its outputs with the network's.
        counts: its parameters and multiply-adds beside the network's.
    """

    path: Path
    bytes: int
    takes: Input
    agreement: Agreement
    counts: Counts


def export_onnx(
    model: nn.Module | TrainedModel,
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    classes: Sequence[str] = (),
    preprocessing: bool = False,
    dynamic_batch: bool = True,
    input_dtype: torch.dtype = torch.float32,
    about: Mapping[str, Any] | None = None,
    images: Tensor | None = None,
) -> Exported:
    """Write the network as an ONNX file; return what the file is and how it was checked.

    The graph has one input, ``input``, and one output, ``logits``. It is first run by
    onnxruntime on the given images and written only if it computes what the network does. The
    file's metadata holds what is needed to use it: ``classes``, ``mean``, ``std``,
    ``input_shape`` and ``about`` as JSON, ``input_layout``, ``preprocessing``, ``params`` and
    ``macs`` as text. Auxiliary heads and whatever else reaches no output are left out.

    Args:
        model: what :func:`ddpnas.load` returns, which says the next four and ``about`` itself;
            or any module, left as it is. Evaluation mode is what is exported.
        path: of the file, usually ``.onnx``.
        input_shape: without the batch: (channels, height, width) for images.
        mean: per channel of images scaled to [0, 1]; empty for inputs taken as they are.
        std: likewise.
        classes: names by output.
        preprocessing: whether normalisation is in the graph, see :class:`ddpnas.export.Input`:
            it then takes uint8 images, height and width before channels. Resizing is outside.
        dynamic_batch: whether it takes any number of inputs at once; otherwise one.
        input_dtype: of inputs that are no images; ``torch.int64`` for tokens.
        about: where the network comes from (architecture, data, versions, ...), plain data.
        images: to check with, uint8 (N, C, H, W) where ``mean`` is given; noise if left out.

    Raises:
        ExportError: torch cannot translate the network, or the file does not compute the same.
        OptionError: onnx, onnxscript or onnxruntime is missing; shapes that disagree.
    """
    need_onnx("onnx", "onnxscript", "onnxruntime")
    given, takes, classes, origin = describe(
        model, input_shape, mean, std, classes, preprocessing, input_dtype, about
    )
    network, program = deploy(given, takes, dynamic_batch)
    translated = _translate(program, dynamic_batch)
    file = translated.model_proto
    _strip(file)
    counts = count(network, translated.exported_program, takes.feed(takes.random(1)), file)
    described = {
        **metadata(takes, classes, origin),
        "params": str(counts.file.params),
        "macs": str(counts.file.macs),
    }
    for key, value in described.items():
        file.metadata_props.add(key=key, value=value)
    content: bytes = file.SerializeToString()
    raw = takes.random(64) if images is None else images
    agreement = compare(network, OnnxFile(content).outputs(raw), takes, raw)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return Exported(path, len(content), takes, agreement, counts)


def metadata(takes: Input, classes: Sequence[str], about: Mapping[str, Any]) -> dict[str, str]:
    """Return what a file says of itself, as texts."""
    return {
        "classes": json.dumps(list(classes)),
        "mean": json.dumps(takes.mean),
        "std": json.dumps(takes.std),
        "input_shape": json.dumps(takes.shape),
        "input_layout": takes.layout,
        "preprocessing": "normalisation inside" if takes.preprocessing else "outside",
        "about": json.dumps(dict(about)),
        "versions": json.dumps({"ddpnas": __version__, "torch": torch.__version__}),
    }


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
    """Remove what the exporter notes for debugging: it holds paths of this machine."""
    graph = file.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for part in (*graph.input, *graph.output):
        part.ClearField("metadata_props")
    file.ClearField("metadata_props")
