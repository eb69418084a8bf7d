"""export_torch(): a network as a ``torch.export`` file, which runs without this package."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch import Tensor

from ddpnas.export._graph import file_metadata, trace
from ddpnas.export.deployable import Deployable, as_deployable
from ddpnas.export.exported import Exported, check_outputs, write_checked
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.onnx import quiet
from ddpnas.utils.settings import checked

__all__ = ["export_torch"]


def export_torch(
    model: Deployable | TrainedModel,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    images: Tensor | None = None,
) -> Exported:
    """Write a network as a ``.pt2`` file of ``torch.export``, after checking it.

    ``torch.export.load(path).module()`` is the network; this package is not needed to run it. The
    extra file ``metadata.json`` inside holds what :func:`ddpnas.export_onnx` writes as metadata.
    Before the file is written, it is read back and compared with the network.

    Example:
        >>> import tempfile
        >>> from ddpnas.export import Deployable, Input, export_torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = Deployable(torch.nn.Linear(16, 2), Input((16,)))
        ...     done = export_torch(model, f"{folder}/net.pt2")
        ...     torch.export.load(done.path).module()(torch.zeros(3, 16)).shape
        torch.Size([3, 2])

    Args:
        model: A network loaded with :func:`ddpnas.load`, or any other module in a
            :class:`ddpnas.export.Deployable`. The module itself stays unchanged.
        path: File to write, usually ``.pt2``.
        dynamic_batch: Whether the file takes any number of inputs at once; otherwise exactly one.
        images: Raw inputs to check the file with, uint8 (N, C, H, W) if the network normalizes.
            Noise by default.

    Raises:
        ExportError: If the network does not return one tensor (N, classes), torch cannot trace it,
            or the outputs of the file do not match.
        OptionError: If shapes do not match, or the path is not one.
    """
    model = as_deployable(model)
    takes = model.takes
    path = checked("path of export_torch()", str | Path, path)
    raw = takes.examples(images)
    network, program = trace(model, dynamic_batch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # holds full paths of this machine's files
    content = io.BytesIO()
    metadata = json.dumps(file_metadata(model), indent=1)
    with quiet():
        torch.export.save(program, content, extra_files={"metadata.json": metadata})
        content.seek(0)
        read = torch.export.load(content).module()
    size = 100 if dynamic_batch else 1
    with torch.inference_mode():
        outputs = torch.cat([read(batch) for batch in takes.batches(raw, size)])
    agreement = check_outputs(network, outputs, takes, raw)
    return write_checked(content.getvalue(), path, takes, agreement)
