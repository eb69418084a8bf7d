"""rescore(): the shared weights of a finished search judge the candidates of a generator.

What a search learned about single choices ranks architectures that were never trained as a
whole. The best of that list can be told apart by the weights that the search left: each candidate
is built with its share of them, the statistics of its BatchNorm are estimated anew (those of the
supernet belong to no single path), and it is scored on the whole validation split.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.optim.swa_utils import update_bn

from ddpnas.architecture import Architecture
from ddpnas.data import Data, Loader
from ddpnas.errors import RunError
from ddpnas.evaluators import SupernetConfig
from ddpnas.reopen import read_config, run_data, run_space
from ddpnas.run import RunFolder
from ddpnas.space import SearchSpace
from ddpnas.training import accuracy, pick_device
from ddpnas.training.epoch import place

__all__ = ["Rescored", "rescore"]

_CALIBRATION_BATCHES = 20


@dataclass(frozen=True)
class Rescored:
    """An architecture and the validation accuracy (a fraction) of its path of the supernet."""

    architecture: Architecture
    score: float


def rescore(
    run: str | Path,
    architectures: Sequence[Architecture],
    *,
    space: SearchSpace | str | None = None,
    data: Data | None = None,
    device: str = "auto",
) -> list[Rescored]:
    """Return the score of each architecture with the weights of a search, in the same order.

    Every score is on the whole validation split, with BatchNorm statistics averaged over the
    same training batches, so that the scores can be compared with each other. They are not those
    of the search's history, which come from different moments of the training.

    Args:
        run: folder of a finished search.
        architectures: of the run's space.
        space: of a run over a user's own space, see :func:`ddpnas.reopen.run_space`; or the
            space itself, at the size that was searched.
        data: of a run whose data came from Python objects; default: the run's, read again.
        device: "auto", "cpu", "cuda", ...

    Raises:
        RunError: the run is not finished, or its space or data have to be given.
        ArchitectureError: one of the architectures is of another space.
    """
    config = read_config(run)
    if not (Path(run) / "result.json").is_file():
        raise RunError(f"the run in {run} is not finished; go on: ddpnas resume {run}")
    if config.get("evaluator") == "standalone":
        raise RunError(
            f"the search of {run} trained each candidate on its own: it left no shared weights to "
            f"judge others by"
        )
    if not isinstance(space, SearchSpace):
        space = run_space(run, space=space)
    data = run_data(run) if data is None else data
    folder = RunFolder.open(run)
    try:
        saved = folder.load_checkpoint()
    finally:
        folder.close()
    if saved is None:
        raise RunError(f"{run} holds no weights (checkpoint.safetensors is missing)")
    supernet = space.supernet()
    part = "supernet."
    supernet.load_state_dict(
        {k.removeprefix(part): v for k, v in saved[0].items() if k.startswith(part)}
    )
    settings = SupernetConfig(**config["supernet"])
    where = pick_device(device)
    training = Loader(data, [data.train], where)
    validation = Loader(data, [data.valid], where)
    batch_size = training.batch_size(settings.batch_size)
    rescored = []
    for architecture in architectures:
        network = place(space.build(architecture, weights_from=supernet), where)
        batches = training.train_batches(batch_size, seed=0)
        update_bn(itertools.islice(batches, _CALIBRATION_BATCHES), network)
        network.eval()
        score = accuracy(network, validation.eval_batches(settings.eval_batch_size))
        rescored.append(Rescored(architecture, score))
    return rescored
