"""Writing the folder of a trained network: its lock, its order, its files."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ddpnas.data.data import Data
from ddpnas.errors import RunError
from ddpnas.generation.limits import Limits, parse_limits
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode, without_folders
from ddpnas.training.checkpoint import CHECKPOINT, save_weights
from ddpnas.training.distributed import is_main_process
from ddpnas.training.final_spaces import inference_space
from ddpnas.training.model_card import model_card
from ddpnas.training.networks import NamedNetwork
from ddpnas.utils.environment import environment
from ddpnas.utils.files import LOCK, lock, writable, write_atomic
from ddpnas.utils.text import csv_text

if TYPE_CHECKING:  # results.py writes its folders with this file
    from ddpnas.training.results import Compared

__all__ = [
    "CHECKPOINTS",
    "REPLACED",
    "TrainedFolder",
    "folder_name",
    "lock_trained",
]

# The first one makes the folder that of a trained network: it is removed first and written last.
_FILES = (
    "architecture.json",
    "result.json",
    "history.csv",
    "README.md",
    "model.safetensors",
    "last.safetensors",
)
CHECKPOINTS = "training"  # a folder of checkpoints for each network
REPLACED = ".old"  # end of the name of a folder while another one takes its place
_OF_A_SEARCH = ("run.json", "history.jsonl")  # then result.json is that of a search
_THEN = "go on with --resume"


def folder_name(network: str) -> str:
    """Return the name of the folder for a network's checkpoints.

    Args:
        network: Its name, which may be the path of a file.

    Example:
        >>> folder_name("nets/mine.py:network"), folder_name("random 1")
        ('nets-mine.py-network', 'random-1')
    """
    return re.sub(r"[^\w.-]", "-", network)


@contextlib.contextmanager
def lock_trained(path: Path, *, make: bool = True) -> Iterator[None]:
    """Lock the folder of a trained network against other processes while the block runs.

    Of several processes that train together, the first one holds the lock.

    Args:
        path: The folder. What is locked is in the folder of its checkpoints, which is removed at
            the end.
        make: Whether the folder is made if it is not there; otherwise nothing is locked then.

    Raises:
        RunError: Another process has the lock, or the folder cannot be written.
    """
    if not (is_main_process() and (make or path.is_dir())):
        yield
        return
    training = path / CHECKPOINTS
    with writable(path):
        training.mkdir(parents=True, exist_ok=True)
        locked = lock(path, training / LOCK, "give another --out")
    with locked:
        try:
            yield
        finally:
            _remove_empty(training)


@dataclass(frozen=True)
class TrainedFolder:
    """The folder of a trained network, locked against other processes while it is being made.

    Attributes:
        path: The folder.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with TrainedFolder.opened(folder) as opened:
        ...     opened.checkpoints.name
        'training'
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder for the checkpoints of the training."""
        return self.path / CHECKPOINTS

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, path: str | Path, *, resume: bool = False, overwrite: bool = False
    ) -> Iterator[TrainedFolder]:
        """Make room for a trained network and keep other processes out.

        Of several processes, the first one makes room and holds the lock.

        Args:
            path: The folder; made if it is not there.
            resume: Keep the checkpoints of an interrupted training.
            overwrite: Remove a trained network and, unless ``resume`` is set, checkpoints.

        Raises:
            RunError: The folder holds a trained network or an unfinished training and neither
                option allows for that, another process uses it, or it cannot be written.
        """
        folder = cls(Path(path))
        with lock_trained(folder.path):
            with writable(folder.path):
                folder._make_room(resume, overwrite)
            yield folder

    def _make_room(self, resume: bool, overwrite: bool) -> None:
        if any((self.path / name).exists() for name in _OF_A_SEARCH):
            raise RunError(f"{self.path} holds a search, not a training; give another --out")
        if (self.path / _FILES[0]).exists() and not overwrite:
            done = ": its training is finished, so nothing is left to resume" if resume else ""
            raise RunError(
                f"{self.path} holds a trained network{done}; give another --out, or --overwrite"
            )
        unfinished = [*self.checkpoints.glob(f"*/{CHECKPOINT}")]
        if unfinished and not (resume or overwrite):
            raise RunError(
                f"{self.path} holds an unfinished training; continue it with --resume, or replace "
                f"it with --overwrite"
            )
        if overwrite and is_main_process():
            self._remove_files()
            if not resume:
                for one in self.checkpoints.iterdir():
                    if one.is_dir():  # not the lock
                        shutil.rmtree(one)

    def save(
        self,
        space: SearchSpace | None,
        networks: Sequence[Compared],
        *,
        limits: Limits | None = None,
        searched: SearchSpace | None = None,
        generated: Mapping[str, Any] | None = None,
        named: NamedNetwork | None = None,
        start: Mapping[str, str | None] | None = None,
    ) -> None:
        """Write the first network and the figures of all; remove the checkpoints.

        Until everything is written, the folder is that of an unfinished training. Of several
        processes, the first one writes.

        Args:
            space: Space of the networks; None for a network that belongs to no space.
            networks: What :func:`ddpnas.compare` returns.
            limits: The limits of the comparison, for the record.
            searched: The space as it was searched, if the final network has another size.
            generated: The answer of ``ddpnas generate`` that the first network comes from.
            named: What builds the network by name, if it belongs to no space.
            start: Network that the training started from, for the record.

        Raises:
            RunError: The networks were read from a file, which holds their figures only, or the
                folder cannot be written.
        """
        if not is_main_process():
            return
        first, folder = networks[0], self.path
        data = first.result.data
        if data is None:
            raise RunError(
                "these results were read from a file, which holds figures but no network"
            )
        network, last = first.result.model, first.result.last
        code = None if named is None else named.code
        used = None if space is None else inference_space(space)
        if used is not None:  # without auxiliary heads
            code = used.source
            network = used.build(first.architecture)
            network.load_state_dict(_part_of(network, first.result.model.state_dict()))
            last = last and _part_of(network, last)
        about = {
            **_rebuilt_by(network, used, named),
            **_described(first, data),
            "limits": {n: one.to_json() for n, one in parse_limits(limits or {}).items()},
            "provenance": {
                "data": _origin(data),
                "seed": first.result.seed,
                "searched_space_options": None if searched is None else searched.plain_options,
                "generated": generated,
                "start": None if start is None else dict(start),
                "versions": environment("torch", *_library(named)),
            },
        }
        figures = [one.to_dict() for one in networks]
        result = {"classes": list(data.classes), "networks": figures}
        with writable(folder, "give another folder", _THEN):
            self._remove_files()
            save_weights(folder / "model.safetensors", network.state_dict())
            if last:
                save_weights(folder / "last.safetensors", last)
            if code is not None:
                _copy_code(code, folder)
            write_atomic(folder / "history.csv", _history(figures))
            card = model_card(folder.resolve().name, about, result)
            write_atomic(folder / "README.md", card.encode(errors="backslashreplace"))
            write_atomic(folder / "result.json", _json(result))
            write_atomic(folder / "architecture.json", _json(about))
            self._remove_checkpoints()

    def _remove_files(self) -> None:
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)

    def _remove_checkpoints(self) -> None:
        """Remove the checkpoints; keep the files that a tracker wrote next to them."""
        for one in self.checkpoints.iterdir():
            if one.is_dir():
                (one / CHECKPOINT).unlink(missing_ok=True)
                _remove_empty(one)


def _remove_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but the mark of a lock."""
    if folder.is_dir() and {one.name for one in folder.iterdir()} <= {LOCK}:
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _rebuilt_by(
    network: nn.Module, space: SearchSpace | None, named: NamedNetwork | None
) -> dict[str, Any]:
    """Return what builds the network again: its space, its name, or else only what it is called."""
    if space is not None:
        return {**space.identity, "space_options": space.plain_options}
    return {
        "space": None,
        "space_options": {},
        "network": _called(network) if named is None else without_folders(named.name),
        "network_code": None if named is None or named.code is None else named.code.fingerprint(),
    }


def _described(network: Compared, data: Data) -> dict[str, Any]:
    """Return which network it is, what it takes and what it costs."""
    return {
        "architecture": dict(network.architecture),
        "text": network.text,
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "interpolation": data.interpolation,
        "costs": network.costs,
    }


def _origin(data: Data) -> dict[str, Any]:
    """Return which data it is, with the name of its file or folder instead of the path."""
    source = dict(data.source)
    return {
        "name": data.name,
        "fingerprint": data.fingerprint(),
        "sizes": {name: len(split) for name, split in data.splits.items()},
        "source": {**source, "data": Path(source["data"]).name} if source else source,
    }


def _copy_code(code: UserCode, folder: Path) -> None:
    """Write a user's file and what it imports from its folder."""
    for name, content in {**code.imported, code.path.name: code.content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, content)


def _library(named: NamedNetwork | None) -> list[str]:
    """Return the package that builds the network, whose version matters."""
    return [] if named is None or named.code is not None else [named.name.partition(":")[0]]


def _called(network: nn.Module) -> str:
    """Return the name of the network's class, for messages and the model card."""
    return type(network).__name__


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _history(networks: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a table with a row for each epoch of each network."""
    rows = [{"network": one["name"], **record} for one in networks for record in one["history"]]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return csv_text(columns, [[row.get(c, "") for c in columns] for row in rows]).encode()


def _part_of(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the parts that the network has."""
    return {name: weights[name] for name in network.state_dict()}
