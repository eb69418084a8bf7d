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

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORM = "4"  # another one whenever a search's state has other parts, or it would go on otherwise


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Write the tensors, and the plain data as JSON in the file's metadata."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(whole, metadata={"form": _FORM, "state": json.dumps(plain)}))


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
