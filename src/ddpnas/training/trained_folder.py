"""The folder of a trained network: written whole, read without executing anything in it.

    model.safetensors   weights and buffers
    last.safetensors    those after the last epoch, where the network is of an earlier, better one
    architecture.json   what rebuilds and feeds the network: space, options, architecture, text,
                        input shape, classes, normalisation; costs, limits and provenance
    result.json         the figures: accuracy, accuracy by class, confusion, history, recipe
    history.csv         the figures of every epoch, as a table
    README.md           the model card
    my_space.py         of a network of a user's own space: a copy of its file, to be read, and
                        named by whoever wants to have it executed; beside it copies of the files
                        that it imports from its folder

It can be handed to a stranger or pushed to a model hub as it is.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ddpnas._version import __version__
from ddpnas.data.data import Data
from ddpnas.errors import ArchitectureError, OptionError, RunError, SpaceError
from ddpnas.generation.limits import Limits, parse_limits
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import Source
from ddpnas.spaces.registry import list_spaces, space_again
from ddpnas.training.compare import inference_space
from ddpnas.training.model_card import model_card
from ddpnas.training.results import Compared, Comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import read_json, write_atomic

__all__ = ["FILES", "load", "read_comparison", "save_folder", "save_networks"]

FILES = (
    "architecture.json",
    "result.json",
    "history.csv",
    "README.md",
    "model.safetensors",
    "last.safetensors",
)


def save_folder(
    path: str | Path,
    network: torch.nn.Module,
    about: Mapping[str, Any],
    result: Mapping[str, Any],
    *,
    last: Mapping[str, Tensor] | None = None,
    source: Source | None = None,
) -> None:
    """Write the folder of a trained network; ``architecture.json`` last, it makes the folder one.

    Args:
        path: made if it is not there.
        network: whose weights are kept.
        about: content of ``architecture.json``, see :func:`ddpnas.training.save_networks`.
        result: content of ``result.json``: classes and the figures of each network.
        last: weights after the last epoch, where the network has those of the best one.
        source: the file of the user's own space, kept with what it imports from its folder as it
            was when it was executed.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in (("model", network.state_dict()), ("last", last)):
        if weights is not None:
            plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
            write_atomic(folder / f"{name}.safetensors", save(plain, metadata={"format": "pt"}))
    if source is not None:
        for name, code in {**source.imported, source.path.name: source.content}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / name, code)
    write_atomic(folder / "history.csv", _history(result["networks"]))
    write_atomic(folder / "README.md", model_card(folder.name, about, result).encode())
    for name, content in (("result.json", result), ("architecture.json", about)):
        write_atomic(folder / name, (json.dumps(content, indent=1) + "\n").encode())


def load(
    folder: str | Path,
    *,
    space: str | SearchSpace | None = None,
    device: torch.device | str = "cpu",
) -> TrainedModel:
    """Return the trained network of a folder, ready for inference with its preprocessing.

    Nothing in the folder is executed.

    Args:
        folder: as ``ddpnas train`` writes it; or a run folder with one in ``trained/``.
        space: for a network of a user's own space, its ``file.py:network`` or the space itself:
            a file is executed only because the user names it.
        device: where the network goes.

    Raises:
        RunError: the folder is none, or damaged, or the space is needed and missing.
    """
    path = Path(folder)
    if not (path / "architecture.json").exists() and (path / "trained").is_dir():
        path = path / "trained"
    about = _read_about(path)
    found = _space(path, about, space)
    try:
        architecture = found.check(about["architecture"])
        network = found.build(architecture)
    except ArchitectureError as error:
        raise RunError(
            f"the architecture in {path} does not belong to its space: {error}"
        ) from None
    try:
        network.load_state_dict(load_file(path / "model.safetensors"))
    except FileNotFoundError:
        raise RunError(f"{path} holds no model.safetensors") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"the weights in {path / 'model.safetensors'} are damaged or of another network: "
            f"{reason[:200]}"
        ) from None
    return TrainedModel(
        network=network.eval().requires_grad_(False).to(device),
        architecture=Architecture(architecture),
        text=found.format(architecture),
        input_shape=tuple(about["input_shape"]),
        classes=tuple(about["classes"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        about=about,
        folder=path,
    )


def read_comparison(folder: str | Path) -> Comparison | None:
    """Return the figures that the folder of a trained network holds; None if it is no such folder.

    Args:
        folder: As ``ddpnas train`` writes it.

    Raises:
        RunError: A file in it is damaged or was written by another version of ddpnas.
    """
    path = Path(folder)
    if not ((path / "result.json").is_file() and (path / "architecture.json").is_file()):
        return None
    about, result = _read_about(path), read_json(path / "result.json")
    try:
        return Comparison(
            path=path,
            networks=tuple(map(Compared.from_dict, result["networks"])),
            classes=tuple(about["classes"]),
            space_options=about["space_options"],
            source=about["provenance"]["data"]["source"],
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} was not written by this version of ddpnas: {error!r}") from None


_FORM = {
    "space": str,
    "space_options": dict,
    "architecture": dict,
    "input_shape": list,
    "classes": list,
    "mean": list,
    "std": list,
}


def _read_about(path: Path) -> dict[str, Any]:
    if not (path / "architecture.json").is_file():
        raise RunError(
            f"{path} holds no trained network (no architecture.json); `ddpnas train` makes one"
        )
    about = read_json(path / "architecture.json")
    for key, kind in _FORM.items():
        if not isinstance(about, dict) or not isinstance(about.get(key), kind):
            raise RunError(f"{path / 'architecture.json'} is damaged: it has no proper {key!r}")
    return dict(about)


def _space(path: Path, about: Mapping[str, Any], given: str | SearchSpace | None) -> SearchSpace:
    name, options = about["space"], about["space_options"]
    if isinstance(given, SearchSpace):
        return given
    try:
        code = about.get("space_code")
        return space_again(path, name, options, given, code=code, copy=path / name)
    except (OptionError, SpaceError, TypeError) as error:
        if name not in list_spaces():
            raise  # what the user named is wrong, not the folder
        raise RunError(f"{path / 'architecture.json'} is damaged: {error}") from None


def _history(networks: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a table, a row an epoch of a network."""
    rows = [{"network": one["name"], **record} for one in networks for record in one["history"]]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def save_networks(
    path: str | Path,
    space: SearchSpace,
    networks: Sequence[Compared],
    *,
    limits: Limits | None = None,
    searched: SearchSpace | None = None,
) -> None:
    """Write the first network and the figures of all into a folder, for :func:`ddpnas.load`.

    The network is kept as it is used: without auxiliary heads.

    Args:
        path: of the folder; its files are replaced.
        space: of the networks.
        networks: what :func:`ddpnas.compare` returns.
        limits: as given there, for the record.
        searched: the space as it was searched, where the final network has another size.
    """
    first = networks[0]
    data = first.result.data
    if data is None:
        raise RunError("these results were read from a file: they hold figures, but no network")
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
        "limits": {n: one.to_json() for n, one in parse_limits(limits or {}).items()},
        "provenance": {
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint(),
                "sizes": _sizes(data),
                "source": _source(data),
            },
            "seed": first.result.seed,
            "searched_space_options": None if searched is None else searched.plain_options,
            "versions": {
                "ddpnas": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "machine": platform.platform(),
            },
        },
    }
    result = {"classes": list(data.classes), "networks": [one.to_dict() for one in networks]}
    save_folder(path, network, about, result, last=last, source=space.source)


def _of(network: torch.nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the parts that the network has."""
    return {name: weights[name] for name in network.state_dict()}


def _source(data: Data) -> dict[str, Any]:
    """Return how the data is read, and of a file or folder its name: not where it lies."""
    source = dict(data.source)
    return {**source, "data": Path(source["data"]).name} if source else source


def _sizes(data: Data) -> dict[str, int]:
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {name: len(split) for name, split in splits.items() if split is not None}
