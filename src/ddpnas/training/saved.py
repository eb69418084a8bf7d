"""save_trained(): the folder of trained networks, from what a comparison returns."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpnas._version import __version__
from ddpnas.data.data import Data
from ddpnas.generation.limits import Limit, plain_limits
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.compare import Trained, inference_space
from ddpnas.training.trained_folder import save_folder

__all__ = ["save_trained"]


def save_trained(
    path: str | Path,
    space: SearchSpace,
    data: Data,
    trained: Sequence[Trained],
    *,
    seed: int = 0,
    limits: Mapping[str, Limit] | None = None,
    searched: SearchSpace | None = None,
) -> None:
    """Write the first network and the figures of all into a folder, for :func:`ddpnas.load`.

    The network is kept as it is used: without auxiliary heads.

    Args:
        path: of the folder; its files are replaced.
        space: of the networks.
        data: on which they were trained.
        trained: what :func:`ddpnas.compare` returns.
        seed: as given there, for the record.
        limits: likewise.
        searched: the space as it was searched, where the final network has another size.
    """
    first = trained[0]
    used = inference_space(space)
    network = used.build(first.architecture)
    network.load_state_dict(_of(network, first.result.model.state_dict()))
    last = first.result.last and _of(network, first.result.last)
    about = {
        **space.identity,
        "space_options": used.plain_options,
        "architecture": dict(first.architecture),
        "text": first.text,
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "costs": first.costs,
        "limits": plain_limits(limits or {}),
        "provenance": {
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint(),
                "sizes": _sizes(data),
                "source": _source(data),
            },
            "seed": seed,
            "searched_space_options": None if searched is None else searched.plain_options,
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
    save_folder(path, network, about, result, last=last, source=space.source)


def _of(network: torch.nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the parts that the network has."""
    return {name: weights[name] for name in network.state_dict()}


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
        **one.result.figures(),
    }


def _source(data: Data) -> dict[str, Any]:
    """Return how the data is read, and of a file or folder its name: not where it lies."""
    source = dict(data.source)
    return {**source, "data": Path(source["data"]).name} if source else source


def _sizes(data: Data) -> dict[str, int]:
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {name: len(split) for name, split in splits.items() if split is not None}
