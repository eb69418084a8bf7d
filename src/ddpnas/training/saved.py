"""save_trained(): the folder of trained networks, from what a comparison returns."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ddpnas._version import __version__
from ddpnas.data import Data
from ddpnas.limits import Limit
from ddpnas.space import SearchSpace
from ddpnas.spaces.own import is_file_space
from ddpnas.trained import save_folder
from ddpnas.training.compare import Trained

__all__ = ["save_trained"]


def save_trained(
    path: str | Path,
    space: SearchSpace,
    data: Data,
    trained: Sequence[Trained],
    *,
    seed: int = 0,
    limits: Mapping[str, Limit] | None = None,
) -> None:
    """Write the first network and the figures of all into a folder, for :func:`ddpnas.load`.

    Args:
        path: of the folder; its files are replaced.
        space: of the networks.
        data: on which they were trained.
        trained: what :func:`ddpnas.compare` returns.
        seed: as given there, for the record.
        limits: likewise.
    """
    folder = Path(path)
    first = trained[0]
    name = str(space.name)
    file, _, function = name.rpartition(":")
    own = is_file_space(name)
    about = {
        "space": f"{Path(file).name}:{function}" if own else name,
        "space_options": space.plain_options,
        "architecture": dict(first.architecture),
        "text": first.text,
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "costs": first.costs,
        "limits": dict(limits or {}),
        "provenance": {
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint(),
                "sizes": _sizes(data),
                "source": _source(data, folder),
            },
            "seed": seed,
            "versions": {
                "ddpnas": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "machine": platform.platform(),
            },
        },
    }
    result = {
        "recipe": dataclasses.asdict(first.result.recipe),
        "seed": seed,
        "classes": list(data.classes),
        "networks": [_figures(one) for one in trained],
    }
    save_folder(folder, first.result.model, about, result, Path(file) if own else None)


def _figures(one: Trained) -> dict[str, Any]:
    """Return what ``result.json`` says of a network.

    ``per_class`` and ``confusion`` (row: class, column: what it was taken for) are in the order
    of ``classes``, and of the same images as ``accuracy``.
    """
    return {
        "name": one.name,
        "text": one.text,
        "architecture": dict(one.architecture),
        "costs": one.costs,
        "accuracy": one.result.accuracy,
        "split": one.result.split,
        "seconds": one.result.seconds,
        "per_class": one.result.per_class,
        "confusion": one.result.confusion,
        "history": one.result.history,
    }


def _sizes(data: Data) -> dict[str, int]:
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {name: len(split) for name, split in splits.items() if split is not None}


def _source(data: Data, folder: Path) -> dict[str, Any]:
    """Return how the data is loaded again; a path as seen from the folder, not from the root."""
    source = dict(data.source)
    if Path(str(source.get("data", ""))).is_absolute():
        relative = os.path.relpath(source["data"], folder.resolve())
        source["data"] = relative if relative.startswith(".") else f"./{relative}"
    return source
