"""Checkpoints: tensors and plain data in one file, written whole, read without executing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.utils.files import write_atomic

__all__ = [
    "CHECKPOINTS",
    "load_checkpoint",
    "load_optimizer",
    "optimizer_state",
    "save_checkpoint",
    "save_weights",
    "with_prefix",
    "without_prefix",
]

# Files of one training: everything after the last whole epoch, and the best epoch's weights.
CHECKPOINTS = ("last.safetensors", "best.safetensors")

_FORM = "5"  # another one whenever a search's state has other parts, or it would go on otherwise


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


def with_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of one part of a checkpoint, with the part's name before theirs.

    Example:
        >>> list(with_prefix("model", {"weight": Tensor()}))
        ['model.weight']
    """
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def without_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what :func:`with_prefix` was given.

    Example:
        >>> list(without_prefix("model", {"model.weight": Tensor(), "average.weight": Tensor()}))
        ['weight']
    """
    start = f"{name}."
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Return the state of an optimizer: its tensors, and its numbers as plain data."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    return tensors, numbers


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Mapping[str, Any]],
) -> None:
    """Restore what :func:`optimizer_state` returned for an optimizer of the same parameters.

    Example:
        >>> parameter = torch.nn.Parameter(torch.ones(2))
        >>> one, other = (torch.optim.SGD([parameter], lr=0.1, momentum=0.9) for _ in range(2))
        >>> parameter.sum().backward()
        >>> one.step()
        >>> load_optimizer(other, *optimizer_state(one))
        >>> other.state[parameter]["momentum_buffer"]
        tensor([1., 1.])
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        state = dict(numbers.get(str(index), {}))
        for name, value in without_prefix(str(index), tensors).items():
            if value.shape == parameter.shape:
                # Laid out as the parameter: another layout may round differently in a step.
                value = torch.empty_like(parameter).copy_(value)
            state[name] = value
        if state:
            optimizer.state[parameter] = state


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
