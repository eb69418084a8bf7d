"""The folder of a trained network: written whole, read without executing anything in it.

    model.safetensors   weights and buffers
    last.safetensors    those after the last epoch, where the network is of an earlier, better one
    architecture.json   what rebuilds and feeds the network: space, options, architecture, text,
                        input shape, classes, normalization; costs, limits and provenance
    result.json         the figures: accuracy, accuracy by class, confusion, history, recipe
    history.csv         the figures of every epoch, as a table
    README.md           the model card
    my_space.py         for a space in a user's file: a copy of that file and of the files that it
                        imports from its folder; it is executed only if the user names it
    training/           checkpoints, while the training goes on

The finished folder contains no local paths. You can share it or push it to a model hub.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ddpnas.data.data import Data
from ddpnas.errors import ArchitectureError, OptionError, RunError, SpaceError
from ddpnas.generation.limits import Limits, parse_limits
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.training.checkpoint import CHECKPOINTS, save_weights
from ddpnas.training.distributed import is_main_process
from ddpnas.training.final_spaces import inference_space
from ddpnas.training.model_card import model_card
from ddpnas.training.results import Compared, Comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.environment import environment
from ddpnas.utils.files import read_json, writable, write_atomic

__all__ = ["load", "prepare_folder", "read_comparison", "save_networks"]

# The first one makes the folder that of a trained network: it is removed first and written last.
_FILES = (
    "architecture.json",
    "result.json",
    "history.csv",
    "README.md",
    "model.safetensors",
    "last.safetensors",
)
_TRAINING = "training"  # a folder of checkpoints for each network


def load(
    folder: str | Path,
    *,
    space: str | SearchSpace | None = None,
    model: Callable[[], nn.Module] | None = None,
    device: torch.device | str = "cpu",
) -> TrainedModel:
    """Return the trained network of a folder, ready for inference with its preprocessing.

    Nothing in the folder is executed.

    Args:
        folder: As :func:`ddpnas.training.save_networks`, :meth:`ddpnas.TrainResult.save` or
            ``ddpnas train`` wrote it; or a run folder with such a folder in ``trained/``.
        space: Needed for a network of your own space: its ``file.py:network`` or the space
            itself. A file is executed only because you name it here.
        model: Needed for a network that was saved without a space: a function or class that
            returns the untrained network.
        device: Device for the network.

    Raises:
        RunError: The folder holds no trained network or is damaged, or the space or the model
            is needed and missing.

    Example:
        >>> import ddpnas, tempfile, torch
        >>> data = ddpnas.make_data((torch.randn(80, 5), torch.arange(80) % 2))
        >>> result = ddpnas.train(torch.nn.Linear(5, 2), data, epochs=1, device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(folder)
        ...     model = ddpnas.load(folder, model=lambda: torch.nn.Linear(5, 2))
        >>> model.predict(torch.zeros(1, 5)).shape
        torch.Size([1, 2])
    """
    path = Path(folder)
    if not (path / "architecture.json").exists() and (path / "trained").is_dir():
        path = path / "trained"
    about = _read_about(path)
    architecture, text = Architecture({}), ""
    if about["space"] is None:
        network = _built_by(path, about, model)
    else:
        found = _space(path, about, space)
        try:
            architecture = found.check(about["architecture"])
            network, text = found.build(architecture), found.format(architecture)
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
        architecture=architecture,
        text=text,
        input_shape=tuple(about["input_shape"]),
        classes=tuple(about["classes"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        about=about,
        folder=path,
    )


def save_networks(
    path: str | Path,
    space: SearchSpace | None,
    networks: Sequence[Compared],
    *,
    limits: Limits | None = None,
    searched: SearchSpace | None = None,
) -> None:
    """Write the first network and the figures of all into a folder for :func:`ddpnas.load`.

    The network is saved as it is used, without auxiliary heads. Checkpoints that
    :func:`prepare_folder` made room for are removed. Of several processes, the first writes.

    Args:
        path: The folder; its files are replaced.
        space: Space of the networks; None for a network that belongs to no space.
        networks: What :func:`ddpnas.compare` returns.
        limits: The limits of the comparison, for the record.
        searched: The space as it was searched, if the final network has another size.

    Raises:
        RunError: The networks were read from a file, which holds their figures only.

    Example:
        >>> import ddpnas, tempfile, torch
        >>> images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
        >>> data = ddpnas.make_data((images, torch.arange(60) % 2))
        >>> space = ddpnas.create_space("toy", num_classes=2, input_shape=(1, 8, 8))
        >>> architecture = {decision.name: decision.options[0] for decision in space.decisions}
        >>> networks = ddpnas.compare(space, architecture, data, random=1, epochs=1, device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_networks(folder, space, networks)
        ...     [one.name for one in read_comparison(folder).networks]
        ['found', 'random 1']
    """
    if not is_main_process():
        return
    first, folder = networks[0], Path(path)
    data = first.result.data
    if data is None:
        raise RunError("these results were read from a file: they hold figures, but no network")
    network, last = first.result.model, first.result.last
    rebuild: dict[str, Any] = {"space": None, "space_options": {}, "network": _called(network)}
    if space is not None:
        used = inference_space(space)
        network = used.build(first.architecture)
        network.load_state_dict(_part_of(network, first.result.model.state_dict()))
        last = last and _part_of(network, last)
        rebuild = {**space.identity, "space_options": used.plain_options}
    about = {
        **rebuild,
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
                "sizes": {name: len(split) for name, split in data.splits.items()},
                "source": _source(data),
            },
            "seed": first.result.seed,
            "searched_space_options": None if searched is None else searched.plain_options,
            "versions": environment("torch"),
        },
    }
    result = {"classes": list(data.classes), "networks": [one.to_dict() for one in networks]}
    with writable(folder, instead="give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_files(folder)
        save_weights(folder / "model.safetensors", network.state_dict())
        if last:
            save_weights(folder / "last.safetensors", last)
        if space is not None and space.source is not None:
            copies = {**space.source.imported, space.source.path.name: space.source.content}
            for name, code in copies.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(folder / name, code)
        write_atomic(folder / "history.csv", _history(networks))
        card = model_card(folder.resolve().name, about, result)
        write_atomic(folder / "README.md", card.encode())
        write_atomic(folder / "result.json", _json(result))
        write_atomic(folder / "architecture.json", _json(about))
        _remove_checkpoints(folder / _TRAINING)


def prepare_folder(path: str | Path, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Make room for a trained network; return the folder for the checkpoints of its training.

    Of several processes, the first one makes room.

    Args:
        path: Folder that :func:`save_networks` will write.
        resume: Keep the checkpoints of an interrupted training.
        overwrite: Remove a trained network and, unless ``resume`` is set, checkpoints.

    Raises:
        RunError: The folder holds a trained network or an unfinished training and neither
            option allows for that, or it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     prepare_folder(folder).name
        'training'
    """
    folder = Path(path)
    if (folder / "result.json").exists() and not overwrite:
        raise RunError(f"{folder} holds a trained network; give another --out, or --overwrite")
    unfinished = [p for name in CHECKPOINTS for p in folder.glob(f"{_TRAINING}/*/{name}")]
    if unfinished and not (resume or overwrite):
        raise RunError(
            f"{folder} holds an unfinished training; continue it with --resume, or replace it with "
            f"--overwrite"
        )
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite and is_main_process():
            _remove_files(folder)
            if not resume:
                shutil.rmtree(folder / _TRAINING, ignore_errors=True)
    return folder / _TRAINING


def read_comparison(folder: str | Path) -> Comparison | None:
    """Return the figures that the folder of a trained network holds; None if it is no such folder.

    Args:
        folder: As :func:`save_networks` writes it.

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


_FORM: dict[str, type | tuple[type, ...]] = {
    "space": (str, type(None)),
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
        if not (isinstance(about, dict) and key in about and isinstance(about[key], kind)):
            raise RunError(f"{path / 'architecture.json'} is damaged: it has no proper {key!r}")
    return dict(about)


def _space(path: Path, about: Mapping[str, Any], given: str | SearchSpace | None) -> SearchSpace:
    name, options = about["space"], about["space_options"]
    if isinstance(given, SearchSpace):
        return given
    try:
        kept, known = about.get("space_code"), list_spaces()
        named = confirmed_name("space", path, name, given, known=known, kept=kept, copy=path / name)
        return named_space(named, options)
    except (OptionError, SpaceError, TypeError) as error:
        if name not in list_spaces():
            raise  # what the user named is wrong, not the folder
        raise RunError(f"{path / 'architecture.json'} is damaged: {error}") from None


def _built_by(
    path: Path, about: Mapping[str, Any], model: Callable[[], nn.Module] | None
) -> nn.Module:
    """Return a fresh network of a folder that belongs to no space."""
    if model is None:
        raise RunError(
            f"the network in {path} ({about.get('network')}) belongs to no search space; load it "
            f"from Python with the function or class that builds it: ddpnas.load(..., model=...)"
        )
    if isinstance(model, nn.Module) or not isinstance(network := model(), nn.Module):
        raise OptionError(
            "model must be a function or class that returns the untrained network, such as "
            "lambda: MyNetwork(width=8), not a network"
        )
    return network


def _called(network: nn.Module) -> str:
    """Return the name of the network's class, for messages and the model card."""
    return type(network).__name__


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _history(networks: Sequence[Compared]) -> bytes:
    """Return a table with a row for each epoch of each network."""
    rows = [{"network": one.name, **record} for one in networks for record in one.result.history]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _part_of(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the parts that the network has."""
    return {name: weights[name] for name in network.state_dict()}


def _source(data: Data) -> dict[str, Any]:
    """Return how the data is read, with the name of its file or folder instead of the path."""
    source = dict(data.source)
    return {**source, "data": Path(source["data"]).name} if source else source


def _remove_files(folder: Path) -> None:
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


def _remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints; keep the files that a tracker wrote beside them."""
    if not folder.is_dir():
        return
    for one in folder.iterdir():
        for name in CHECKPOINTS:
            (one / name).unlink(missing_ok=True)
        if not any(one.iterdir()):
            one.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
