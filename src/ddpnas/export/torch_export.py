"""export_program(): a network as a ``torch.export`` file, for torch without this package."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.export._agreement import Agreement, compare
from ddpnas.export._deployed import deploy, describe
from ddpnas.export.onnx import metadata
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import write_atomic
from ddpnas.utils.onnx import quiet

__all__ = ["export_program"]


def export_program(
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
) -> Agreement:
    """Write the network as a ``.pt2`` file of ``torch.export``; return how it was checked.

    ``torch.export.load(path).module()`` is the network, without this package. The arguments are
    those of :func:`ddpnas.export_onnx`; what that writes into the metadata is here the extra
    file ``metadata.json``. What is read back is compared with the network before the file is
    written.

    Raises:
        ExportError: the program read back does not compute what the network does.
    """
    given, takes, classes, origin = describe(
        model, input_shape, mean, std, classes, preprocessing, input_dtype, about
    )
    network, program = deploy(given, takes, dynamic_batch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # full paths of this machine's files
    content = io.BytesIO()
    described = json.dumps(metadata(takes, classes, origin), indent=1)
    with quiet():
        torch.export.save(program, content, extra_files={"metadata.json": described})
        content.seek(0)
        read = torch.export.load(content).module()
    raw = takes.random(64) if images is None else images
    size = 100 if dynamic_batch else 1
    with torch.inference_mode():
        outputs = torch.cat([read(batch) for batch in takes.batches(raw, size)])
    agreement = compare(network, outputs, takes, raw)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.getvalue())
    return agreement
