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

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from torch import nn

from ddpnas.errors import ArchitectureError, OptionError, RunError, SpaceError
from ddpnas.generation.forms import CertificateForm, RequestForm
from ddpnas.generation.limits import Limit, LimitForm, Limits
from ddpnas.space.copies import copied
from ddpnas.space.decisions import Architecture
from ddpnas.space.meta import move_to_meta, on_meta
from ddpnas.space.resizing import resize_layers
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import CodeForm, confirmed_name, names_file
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.training.checkpoint import load_weights
from ddpnas.training.networks import NamedNetwork, find_network
from ddpnas.training.results import Compared, Comparison, StartForm
from ddpnas.training.saving import REPLACED, TrainedFolder, lock_trained
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.read import Measured, Size, Whole, blaming, read_json
from ddpnas.utils.settings import Interpolation, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["load", "own_code", "read_comparison", "save_networks"]


@checks_arguments
def load(
    folder: str | Path,
    *,
    space: str | SearchSpace | None = None,
    model: str | nn.Module | Callable[[], nn.Module] | None = None,
    device: torch.device | str = "cpu",
) -> TrainedModel:
    """Return the trained network of a folder, ready for inference with its preprocessing.

    Nothing in the folder is executed.

    Args:
        folder: As :func:`ddpnas.training.save_networks`, :meth:`ddpnas.TrainResult.save` or
            ``ddpnas train`` wrote it; or a run folder with such a folder in ``trained/``.
        space: Needed for a network of your own space: its ``file.py:network`` or the space
            itself. A file is executed only because you name it here.
        model: Needed for a network of your own: its ``file.py:function``, which is executed only
            because you name it here, a function or class that returns the untrained network, or
            such a network, which is copied.
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
    path = _holding(folder)
    about = _read_about(path)
    architecture, text = Architecture({}), ""
    found, named = None, None
    if about["space"] is None:
        named = _named(path, about, model)
        if named is None:
            network = _built_by(path, about, model)
        else:
            network = named.build(len(about["classes"]), about["input_shape"])
    else:
        found = _space(path, about, space)
        try:
            architecture = found.check(about["architecture"])
            network, text = found.build(architecture), found.format(architecture)
        except ArchitectureError as error:
            raise RunError(
                f"the architecture in {path} does not belong to its space: {error}"
            ) from None
    weights = load_weights(path / "model.safetensors")
    is_cut = found is None and bool(about["architecture"])  # which then has its widths
    if is_cut:
        architecture, text = Architecture(about["architecture"]), about["text"]
        resize_layers(network, {name: tensor.shape for name, tensor in weights.items()})
    try:
        network.load_state_dict(weights)
        if is_cut:  # any sizes of layers were taken over, whether or not they fit each other
            with on_meta():
                bare = move_to_meta(copied(network)).eval()
                bare(torch.empty(1, *about["input_shape"]))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"the weights in {path / 'model.safetensors'} belong to another network: {reason[:200]}"
        ) from None
    return TrainedModel(
        network=network.eval().requires_grad_(False).to(device),
        architecture=architecture,
        text=text,
        input_shape=tuple(about["input_shape"]),
        classes=tuple(about["classes"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        interpolation=about.get("interpolation", "bilinear"),
        about=about,
        folder=path,
        space=found,
        named=named,
    )


def save_networks(
    path: str | Path,
    space: SearchSpace | None,
    networks: Sequence[Compared],
    *,
    limits: Limits | None = None,
    named: NamedNetwork | None = None,
) -> None:
    """Write the first network and the figures of all into a folder for :func:`ddpnas.load`.

    The network is saved as it is used, without auxiliary heads. Checkpoints of its training are
    removed. Of several processes, the first writes.

    Args:
        path: The folder; its files are replaced.
        space: Space of the networks; None for a network that belongs to no space.
        networks: What :func:`ddpnas.compare` returns.
        limits: The limits of the comparison, for the record.
        named: What builds the first network by name, if it belongs to no space; see
            :attr:`ddpnas.training.OpenedNetwork.named`.

    Raises:
        RunError: The networks were read from a file, which holds their figures only, or the
            folder is in use or cannot be written.

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
    with lock_trained(Path(path)):
        TrainedFolder(Path(path)).save(
            space,
            networks,
            limits=limits,
            named=named,
        )


def read_comparison(folder: str | Path) -> Comparison | None:
    """Return the figures that the folder of a trained network holds; None if it is no such folder.

    Args:
        folder: As :func:`save_networks` writes it.

    Raises:
        RunError: A file in it is damaged or was written by another version of ddpnas.
    """
    path = _in_place(Path(folder))
    if not ((path / "result.json").exists() and (path / "architecture.json").exists()):
        return None
    about, result = _read_about(path), read_json(path / "result.json", _ResultForm)
    with blaming(path / "result.json"):
        networks = tuple(map(Compared.from_dict, result["networks"]))
        if not networks:
            raise RunError("networks is empty; the trained network comes first in it")
        for one in networks:
            if len(one.evaluation.confusion) != len(about["classes"]):
                raise RunError(
                    f"the confusion of {one.name!r} does not have the {len(about['classes'])} "
                    f"classes of architecture.json"
                )
    with blaming(path / "architecture.json"):
        limits = {name: Limit.from_json(one) for name, one in about["limits"].items()}
    return Comparison(
        path=path,
        networks=networks,
        classes=tuple(about["classes"]),
        space=about["space"],
        space_options=about["space_options"],
        source=about["provenance"]["data"]["source"],
        versions=about["provenance"]["versions"],
        limits=limits,
        generated=about["provenance"].get("generated"),
        start=about["provenance"].get("start"),
    )


class _DataForm(TypedDict):
    name: str
    fingerprint: str
    sizes: dict[str, Whole]
    source: dict[str, Any]  # of DataConfig, or empty


class _GeneratedForm(RequestForm):
    """What is kept of an answer of ``ddpnas generate``."""

    log_prob: Measured
    certificate: CertificateForm


class _ProvenanceForm(TypedDict):
    data: _DataForm
    seed: Whole
    searched_space_options: dict[str, Any] | None
    generated: NotRequired[_GeneratedForm | None]
    start: NotRequired[StartForm | None]
    versions: dict[str, Any]


class _AboutForm(TypedDict):
    """What ``architecture.json`` holds."""

    space: str | None
    space_code: NotRequired[CodeForm | None]
    space_options: dict[str, Any]
    network: NotRequired[str]
    network_code: NotRequired[CodeForm | None]
    architecture: dict[str, str]
    text: str
    input_shape: list[Size]
    classes: list[str]
    mean: list[float]
    std: list[Annotated[float, Range(1e-9)]]
    interpolation: NotRequired[Interpolation]
    costs: dict[str, float]
    limits: dict[str, LimitForm]
    provenance: _ProvenanceForm


class _ResultForm(TypedDict):
    """What ``result.json`` holds."""

    networks: list[dict[str, Any]]  # each is checked by Compared.from_dict


def _read_about(path: Path) -> _AboutForm:
    if not (path / "architecture.json").exists():
        raise RunError(
            f"{path} holds no trained network (no architecture.json); `ddpnas train` makes one"
        )
    about: _AboutForm = read_json(path / "architecture.json", _AboutForm)
    with blaming(path / "architecture.json"):
        for limit in about["limits"].values():
            Limit.from_json(limit)
        channels = len(about["mean"])
        if not about["input_shape"] or not about["classes"]:
            raise RunError("input_shape and classes must not be empty")
        if channels != len(about["std"]) or channels not in (0, about["input_shape"][0]):
            raise RunError(
                f"mean and std must be empty or have a number for each of the "
                f"{about['input_shape'][0]} channels"
            )
    return about


def own_code(folder: str | Path) -> tuple[str, Path, bool] | None:
    """Return what in the folder of a trained network is code of a user, and its copy there.

    Args:
        folder: See :func:`load`.

    Returns:
        ("network" or "space", ``FILE.py:name``, whether the network was cut, so that the code
        builds a larger one); None if the package or a library builds it.

    Raises:
        RunError: The folder holds no trained network or is damaged.
    """
    path = _holding(folder)
    about = _read_about(path)
    for what in ("space", "network"):
        if names_file(name := str(about.get(what) or "")):
            return what, path / name, what == "network" and bool(about["architecture"])
    return None


def _holding(folder: str | Path) -> Path:
    """Return the folder of the trained network: the given one, or ``trained/`` in that of a run."""
    path = _in_place(Path(folder))
    inner = not (path / "architecture.json").exists() and (path / "trained").is_dir()
    return path / "trained" if inner else path


def _in_place(path: Path) -> Path:
    """Return a folder; or what was there before, if a kill came while another took its place."""
    before = path.parent / f"{path.name}{REPLACED}"
    return before if not path.exists() and before.is_dir() else path


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
        raise RunError(f"cannot use {path / 'architecture.json'}: {error}") from None


def _named(
    path: Path, about: Mapping[str, Any], model: str | nn.Module | Callable[[], nn.Module] | None
) -> NamedNetwork | None:
    """Return what builds the network by name; None for one that was saved without a name."""
    name = about.get("network", "")
    if names_file(name):
        if model is not None and not isinstance(model, str):
            return None
        kept = about.get("network_code")
        confirmed = confirmed_name(
            "network", path, name, model, known=(), kept=kept, copy=path / name
        )
        return find_network(confirmed)
    return find_network(name) if name.startswith(("timm:", "torchvision:")) else None


def _built_by(
    path: Path, about: Mapping[str, Any], model: str | nn.Module | Callable[[], nn.Module] | None
) -> nn.Module:
    """Return a fresh network of a folder that belongs to no space."""
    if model is None:
        raise RunError(
            f"the network in {path} ({about.get('network')}) belongs to no search space; load it "
            f"from Python with the function or class that builds it: ddpnas.load(..., model=...)"
        )
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if isinstance(model, str) or not isinstance(network := model(), nn.Module):
        raise OptionError(
            "model must be the untrained network, or a function or class that returns it, such as "
            "lambda: MyNetwork(width=8)"
        )
    return network
