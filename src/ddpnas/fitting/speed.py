"""How long an epoch and an export take on this machine, from a few steps and one trial."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.export.deployable import Deployable, Input
from ddpnas.export.trained import Export, export_file
from ddpnas.space.copies import copied
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.device import pick_device
from ddpnas.training.distillation import Teacher
from ddpnas.training.first_call import explained
from ddpnas.training.plateau import PlateauTraining
from ddpnas.training.recipes import Recipe
from ddpnas.utils.seeds import seeded

__all__ = [
    "epoch_seconds",
    "epoch_seconds_by_threads",
    "export_seconds",
    "measure_pace",
    "teaching_seconds",
]

_WARM, _STEPS = 1, 3  # steps of each network before the clock starts, and while it runs
_SHOWN = 64  # images in a batch that a teacher is asked about
# What a pace is made of: arithmetic, and memory traffic.
_COSTS = ("macs", "activation_bytes")


def epoch_seconds(network: torch.nn.Module, data: Data, recipe: Recipe, device: str) -> float:
    """Return the seconds of an epoch of training, from a few steps.

    Args:
        network: The network; a copy of it is trained.
        data: Its training split trains.
        recipe: Optimizer, batch size and augmentation.
        device: "auto", "cpu", "cuda", ...
    """
    loader = Loader(data, [data.train], pick_device(device))
    training = PlateauTraining(copied(network), recipe, loader, seed=0)
    with explained(training.model, data):
        training.train(_WARM)
    return _median_seconds(lambda: training.train(1)) * training.steps_an_epoch


def teaching_seconds(teacher: Teacher, data: Data, device: torch.device) -> float:
    """Return the seconds that a teacher takes for an image.

    Args:
        teacher: The teacher, on the device.
        data: Some images of its training split are shown.
        device: Where it is.
    """
    images = min(_SHOWN, len(data.train))
    loader = Loader(data, [data.train.subset(range(images))], device)
    [(batch, _)] = loader.eval_batches(images)

    def ask() -> None:
        float(teacher(batch).sum())  # waits for the device

    ask()
    return _median_seconds(ask) / images


def _median_seconds(step: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_STEPS):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def epoch_seconds_by_threads(
    network: torch.nn.Module, data: Data, recipe: Recipe, device: str, *, choose: bool
) -> float:
    """Return the seconds of an epoch, if asked by the better of all threads and one; it stays set.

    Beside other busy programs several threads wait for each other and are many times slower.

    Args:
        network: See :func:`epoch_seconds`.
        data: See :func:`epoch_seconds`.
        recipe: See :func:`epoch_seconds`.
        device: See :func:`epoch_seconds`.
        choose: Whether the number of threads may be changed to what is faster.
    """
    found: dict[int, float] = {}
    best = torch.get_num_threads()
    try:
        for number in {best, *((1,) if choose else ())}:
            torch.set_num_threads(number)
            found[number] = epoch_seconds(network, data, recipe, device)
        best = min(found, key=lambda number: found[number])
    finally:  # a trial that runs out of memory is repeated, and has to find all threads again
        torch.set_num_threads(best)
    return found[best]


def export_seconds(network: torch.nn.Module, kind: Export, data: Data) -> float:
    """Return the seconds of an export.

    Args:
        network: The network.
        kind: "onnx" or "torch".
        data: Its images fit the network.

    Raises:
        ExportError: The network cannot be exported.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        export_file(kind, Deployable(network, Input(data.input_shape)), Path(scratch))
    return time.perf_counter() - begun


def measure_pace(
    space: SearchSpace,
    architectures: Iterable[Architecture],
    costs: Mapping[str, CostTable],
    data: Data,
    recipe: Recipe,
    *,
    device: str,
    most_seconds: float,
) -> Pace:
    """Return the pace of training on this machine.

    Args:
        space: Builds the networks.
        architectures: Networks to measure, the most important ones first.
        costs: The counted costs of the space.
        data: Its training split trains.
        recipe: Optimizer, batch size and augmentation.
        device: "auto", "cpu", "cuda", ...
        most_seconds: No further network is measured after this time.
    """
    begun = time.perf_counter()
    counted: list[dict[str, float]] = []
    measured: list[float] = []
    for one in architectures:
        if measured and time.perf_counter() - begun > most_seconds:
            break
        with seeded(0):
            network = space.build(one)
        measured.append(epoch_seconds(network, data, recipe, device))
        counted.append({name: costs[name].cost(one) for name in _COSTS})
    return Pace.fitted(counted, measured)
