"""Checkpoints: tensors and plain data in one file, written whole, read without executing it.

A search and a training keep their state in such a file. It has a checksum of all that it holds, so
that damage is noticed. The weights of a trained network have one, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.utils.files import write_atomic
from ddpnas.utils.read import checked_content, parse_json, require_regular

__all__ = [
    "CHECKPOINT",
    "load_checkpoint",
    "load_optimizer",
    "load_weights",
    "optimizer_state",
    "restoring",
    "save_checkpoint",
    "save_weights",
    "with_prefix",
    "without_prefix",
]

CHECKPOINT = "checkpoint.safetensors"  # name of the file, of a search and of a training

_FORM = "6"  # another one whenever a search's state has other parts, or it would go on otherwise
_AGAIN = "remove it to do that part again"

# What restoring a state raises that was edited, or is of another network, strategy or evaluator.
_MISFITS = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Write the tensors, and the plain data as JSON in the file's metadata."""
    _write(path, tensors, {"form": _FORM, "state": json.dumps(plain)})


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a network in the form that model hubs read."""
    _write(path, weights, {"format": "pt"})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what was saved, None where nothing was yet.

    Raises:
        RunError: the file is damaged, or was saved by a version whose searches go on otherwise.
    """
    if not path.exists():
        return None
    tensors, metadata = _read(path, _AGAIN)
    if metadata.get("form") != _FORM:
        raise RunError(
            f"{path} was saved by a version of ddpnas that continues searches differently; use "
            f"that version, or {_AGAIN}"
        )
    for name in (_CHECKSUM, "state"):
        if name not in metadata:
            raise RunError(f"{path} is damaged (it has no {name}); {_AGAIN}")
    return tensors, checked_content(parse_json(metadata["state"], path), dict[str, Any], path)


@contextlib.contextmanager
def restoring(what: Any) -> Iterator[None]:
    """Turn what restoring a state raises that fits nothing here into a sentence.

    Args:
        what: The checkpoint, for the message.

    Raises:
        RunError: In place of any such error.

    Example:
        >>> with restoring("checkpoint.safetensors"):
        ...     torch.nn.Linear(1, 1).load_state_dict({})
        Traceback (most recent call last):
        ddpnas.errors.RunError: cannot use checkpoint.safetensors: what it holds does not fit ...
    """
    try:
        yield
    except _MISFITS as error:
        if isinstance(error, RunError) or is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"cannot use {what}: what it holds does not fit ({type(error).__name__}: {reason}); "
            f"{_AGAIN}"
        ) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a network.

    Args:
        path: What :func:`save_weights` wrote, or a file of another program, without a checksum.

    Raises:
        RunError: There is no such file, or it is damaged.
    """
    return _read(path, "copy or train it again")[0]


_CHECKSUM = "checksum"  # of tensors and metadata, in the metadata
_SHARED = "shared"  # second name of a tensor -> the name under which it is saved, in the metadata


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    separate, shared = _separate(tensors)
    if shared:
        metadata = {**metadata, _SHARED: json.dumps(shared)}
    whole = {_CHECKSUM: _checksum(separate, metadata), **metadata}
    write_atomic(path, _with_metadata(save(separate), whole))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file with metadata, in their order.

    The library writes metadata in a random order, so that equal files would differ.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = {"__metadata__": metadata, **json.loads(content[8:start])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[start:]))


def _read(path: Path, instead: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a file, after checking that they are what was written."""
    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); {instead}") from None
    rest = {name: text for name, text in metadata.items() if name != _CHECKSUM}
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(tensors, rest):
        raise RunError(f"{path} is damaged (its content has another checksum); {instead}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.isnan().any():
            raise RunError(f"{path} holds values in {name!r} that are not numbers; {instead}")
    try:
        shared = json.loads(metadata.get(_SHARED, "{}"))
        tensors |= {name: tensors[saved] for name, saved in shared.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged (names of shared tensors: {error!r}); {instead}"
        ) from None
    return tensors, metadata


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return a checksum of metadata and of the names, types, shapes and bytes of all tensors."""
    found = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


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
            if value.ndim or not parameter.ndim:  # the others are numbers of steps
                # Laid out as the parameter: another layout may round differently in a step.
                value = torch.empty_like(parameter).copy_(value.view_as(parameter))
            state[name] = value
        if state:
            optimizer.state[parameter] = state


def _separate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors for a file, whose format refuses those that share memory.

    Returns:
        (separate, shared): the tensors on the CPU, contiguous, no two in the same memory; and
        the second and further names of a tensor -> its first name, the one it is saved under.
    """
    separate: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    names: dict[Any, str] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        at = tensor.untyped_storage().data_ptr()
        view = (at, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and (first := names.setdefault(view, name)) != name:
            shared[name] = first
            continue
        whole = tensor.detach().cpu().contiguous()
        separate[name] = whole.clone() if at in memory else whole  # another part of the same memory
        memory.add(at)
    return separate, shared
