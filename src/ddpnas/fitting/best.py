"""BestSoFar: a network that can be loaded at any time while a fit goes on, in ``best/``."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.runs.folder import BEST
from ddpnas.training.device import pick_device, place
from ddpnas.training.metrics import confusion
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import EvaluationResult, TrainResult
from ddpnas.training.saving import CHECKPOINTS, REPLACED, TrainedFolder
from ddpnas.utils.files import writable

__all__ = ["BestSoFar"]

_SHARE = 0.02  # of the time that may go into writing


class BestSoFar:
    """The best network so far, in a folder that is replaced as a whole.

    Between two renames only the folder of the network before is there, as ``best.old``;
    :func:`ddpnas.load` then reads that.

    Writing takes at most a fiftieth of the time, so not every better network is written.

    Args:
        folder: Folder of the fit.
        data: Its validation images measure the network.
        device: Where that happens.
        seed: Seed of the fit, for the record.
    """

    def __init__(self, folder: Path, data: Data, device: str, seed: int) -> None:
        self._path, self._data, self._device, self._seed = folder / BEST, data, device, seed
        self._begun, self._writing = time.perf_counter(), 0.0

    @property
    def is_there(self) -> bool:
        """Whether a network was written, in this session or one before."""
        return any(self._path.with_suffix(end).exists() for end in ("", REPLACED))

    def is_due(self) -> bool:
        """Return whether there is time for a network to be written, or none is there yet."""
        return self._writing <= _SHARE * (time.perf_counter() - self._begun)

    def keep(
        self,
        network: nn.Module,
        recipe: Recipe,
        save: Callable[[TrainedFolder, TrainResult], object],
        *,
        trained_on: bool,
        delays: bool = True,
    ) -> None:
        """Write a network.

        Args:
            network: The network; it is evaluated as it is.
            recipe: How it was trained.
            save: Writes the network and its figures into a folder.
            trained_on: Whether validation images trained it; its figures then say so.
            delays: Whether the time that this takes delays the next network.
        """
        begun = time.perf_counter()
        device = pick_device(self._device)
        loader = Loader(self._data, [self._data.valid], device)
        model = place(network, device).eval()
        counts = confusion(model, loader.eval_batches(500), len(self._data.classes))
        split = "train" if trained_on else "valid"
        evaluation = EvaluationResult(self._data.name, split, int(counts.sum()), counts.tolist())
        passed = begun - self._begun
        result = TrainResult(model, evaluation, [], recipe, self._seed, passed, self._data)
        with self._replaced() as path, TrainedFolder.opened(path) as folder:
            save(folder, result)
        if delays:
            self._writing += time.perf_counter() - begun

    def finish(self, trained: Path) -> None:
        """Put the network of another folder in its place."""
        with self._replaced() as path:
            shutil.copytree(trained, path, ignore=lambda _, names: {CHECKPOINTS} & {*names})

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[Path]:
        """Give a new folder to fill; it takes the place of the present one at the end."""
        best, new, old = (self._path.with_suffix(end) for end in ("", ".new", REPLACED))
        with writable(best.parent):
            if old.exists() and not best.exists():  # interrupted just then
                old.rename(best)
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)
            yield new
            if best.exists():
                best.rename(old)
            new.rename(best)
            shutil.rmtree(old, ignore_errors=True)
