"""Checkpoints: tensors and plain data in one file, written whole, read without executing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.utils.files import write_atomic

__all__ = ["CHECKPOINTS", "load_checkpoint", "save_checkpoint", "save_weights"]

# Files of one training: everything after the last whole epoch, and the best epoch's weights.
CHECKPOINTS = ("last.safetensors", "best.safetensors")

_FORM = "4"  # another one whenever a search's state has other parts, or it would go on otherwise


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Write the tensors, and the plain data as JSON in the file's metadata."""
    metadata = {"form": _FORM, "state": json.dumps(plain)}
    write_atomic(path, save(_separate(tensors), metadata=metadata))


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a network in the form that model hubs read."""
    write_atomic(path, save(_separate(weights), metadata={"format": "pt"}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what was saved, None where nothing was yet.

    Raises:
        RunError: the file is damaged, or was saved by a version whose searches go on otherwise.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            plain = json.loads(metadata["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise RunError(f"{path} is damaged ({error}); start again with --overwrite") from error
    if metadata.get("form") != _FORM:
        raise RunError(
            f"{path} was saved by another version of ddpnas, whose searches go on otherwise; use "
            f"that version, or start again with --overwrite"
        )
    return tensors, plain


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, contiguous and each in memory of its own.

    The file format refuses tensors that share memory, as tied weights do.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        at = whole.untyped_storage().data_ptr()
        found[name] = whole.clone() if at in seen else whole
        seen.add(at)
    return found
