"""What a run folder keeps of a run beside its results: what it is, what searched, with what."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ddpnas._version import __version__
from ddpnas.architecture import Decision
from ddpnas.data import Data
from ddpnas.errors import RunError
from ddpnas.evaluators import StandaloneConfig
from ddpnas.space import SearchSpace

__all__ = ["about_run", "note_processes", "refuse_differences", "run_identity", "versions"]

logger = logging.getLogger(__name__)


def run_identity(config: Mapping[str, Any], space: SearchSpace, data: Data) -> dict[str, Any]:
    """Return what has to be equal for a run to go on as if it had not been interrupted."""

    def plain(decision: Decision) -> list[Any]:
        return [decision.name, *decision.options]

    names = ["space", "space_options", "strategy", "strategy_options", "seed"]
    if config["evaluator"] == "supernet":
        how = {"supernet": config["supernet"]}
    else:
        how = {"standalone": StandaloneConfig(**config["standalone"]).identity()}
    return {
        **{name: config[name] for name in names},
        "code": None if space.source is None else space.source.fingerprint(),
        **how,
        "data": {"name": data.name, "fingerprint": data.fingerprint()},
        "decisions": [plain(decision) for decision in space.decisions],
    }


def about_run(space: SearchSpace, data: Data, evaluations: int) -> dict[str, Any]:
    """Return what a reader of the run wants to know and cannot without the space and the data."""
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {
        "evaluations": evaluations,
        "space": space.to_dict(),
        "data": {
            "classes": list(data.classes),
            "input_shape": list(data.input_shape),
            "items": {name: len(split) for name, split in splits.items() if split is not None},
        },
    }


def refuse_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise :class:`RunError` when the identities of a run and of what would go on differ.

    Code in files is left to :func:`ddpnas.source.refuse_other_code`.
    """
    now = json.loads(json.dumps(now))
    same_code = now["code"] is not None and before.get("code") == now["code"]
    left_out = ("code", "space") if same_code else ("code",)  # the file may have moved
    differences = [
        f"{key} was {json.dumps(before.get(key))} and is {json.dumps(now.get(key))}"
        for key in now
        if key not in left_out and before.get(key) != now.get(key)
    ]
    if differences:
        raise RunError(
            "the run cannot go on with something else than it began with: "
            + "; ".join(differences)
            + "; start a new run with another --out"
        )


def note_processes(made_with: Mapping[str, Any], processes: int) -> None:
    """Log what it changes when a run goes on with another number of processes."""
    began = made_with.get("processes", 1)
    if began != processes:
        logger.warning(
            "the run began on %d process%s and goes on on %d: batches and random numbers stay the "
            "same, scores may differ from the unbroken run's as far as training amplifies rounding",
            began,
            "" if began == 1 else "es",
            processes,
        )


def versions(device: torch.device, processes: int) -> dict[str, Any]:
    """Return what a run was made with: versions, machine, device, number of processes, date."""
    return {
        "ddpnas": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "device": str(device),
        "processes": processes,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
