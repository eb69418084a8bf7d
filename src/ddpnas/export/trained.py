"""export_trained(): the trained network of a fit or a shrink as a file that is checked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import Tensor

from ddpnas.data.data import Data
from ddpnas.errors import ExportError
from ddpnas.export.deployable import Deployable
from ddpnas.export.exported import Exported
from ddpnas.export.onnx import export_onnx
from ddpnas.export.onnx_runtime import raw_inputs
from ddpnas.export.torch_export import export_torch
from ddpnas.runs.folder import EXPORTS
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import writable

__all__ = ["Export", "export_file", "export_trained"]

Export = Literal["onnx", "torch", "none"]

logger = logging.getLogger(__name__)

_IMAGES = 500  # with which a file is checked


def export_trained(
    kind: Export, model: TrainedModel, data: Data, folder: Path, tell: Callable[[str], object]
) -> dict[str, Path]:
    """Return the written file by its kind; nothing if none is wanted or possible.

    Args:
        kind: Which file.
        model: The network.
        data: Its unseen images check the file.
        folder: Where the file goes.
        tell: Takes a line of text.
    """
    if kind == "none":
        return {}
    raw = raw_inputs(data, data.splits[data.held_out], _IMAGES)
    try:
        with writable(folder / EXPORTS[kind]):
            described = Deployable.of(
                model, preprocessing=bool(model.mean), dtype=None if model.mean else raw.dtype
            )
            path, done = export_file(kind, described, folder, raw)
    except ExportError as error:  # the trained network is there all the same
        logger.warning("warning: %s", error)
        return {}
    tell(f"{path.name}: {done.agreement.explain()}")
    if kind == "onnx":
        size = "not counted" if done.counts is None else done.counts.explain()
        tell(f"{path.name}: {done.bytes:,} bytes; {size}")
    return {kind: path}


def export_file(
    kind: Export, model: Deployable, folder: Path, images: Tensor | None = None
) -> tuple[Path, Exported]:
    """Write a network as a file of this kind; return its path and what was found.

    Args:
        kind: "onnx" or "torch".
        model: The network.
        folder: Where the file goes.
        images: Raw inputs to check the file with; noise by default.

    Raises:
        ExportError: torch cannot translate the network, or the outputs do not match.
    """
    path = folder / EXPORTS[kind]
    write = export_onnx if kind == "onnx" else export_torch
    return path, write(model, path, images=images)
