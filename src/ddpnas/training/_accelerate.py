"""Accelerate for a training of its own: device, mixed precision, processes, trackers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpnas.errors import OptionError, nearest
from ddpnas.training.device import pick_device

__all__ = ["PRECISIONS", "TRACKERS", "accelerated"]

PRECISIONS = ("no", "bf16", "fp16")
TRACKERS = ("tensorboard", "mlflow", "wandb")


@contextlib.contextmanager
def accelerated(
    device: str, mixed_precision: str, track: str | None, logs: Path | None
) -> Iterator[Any]:
    """Provide an ``accelerate.Accelerator`` inside.

    Accelerate keeps its state for the whole process; here it is set for the training and put
    back afterwards, so that trainings with other settings, and a caller's own use of Accelerate,
    do not meet.

    Args:
        device: "auto", "cpu", "cuda:1", ...; of several processes, each takes its own device.
        mixed_precision: "no", "bf16" or "fp16".
        track: one of ``TRACKERS``, or None.
        logs: folder for the tracker's files.

    Raises:
        OptionError: a name that is unknown, or what is not installed or not possible here.
    """
    if mixed_precision not in PRECISIONS:
        raise OptionError(nearest("mixed precision", mixed_precision, PRECISIONS))
    if track is not None:
        if track not in TRACKERS:
            raise OptionError(nearest("tracker", track, TRACKERS))
        if importlib.util.find_spec(track) is None:
            raise OptionError(f"tracking by {track} needs its package: pip install {track}")
        if logs is None:
            raise OptionError(f"tracking by {track} needs a folder for its files")
    where = pick_device(device)
    if mixed_precision == "fp16" and where.type == "cpu":
        raise OptionError("fp16 needs an accelerator, and this is the CPU; try bf16")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import patch_environment

    states = (AcceleratorState._shared_state, PartialState._shared_state)
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    environment = {} if several else {"ACCELERATE_TORCH_DEVICE": str(where)}
    try:
        with patch_environment(**environment):
            accelerator = Accelerator(
                mixed_precision=mixed_precision,
                cpu=where.type == "cpu",
                log_with=track,
                project_dir=logs,
            )
        yield accelerator
        for tracker in accelerator.trackers:
            tracker.finish()
    finally:
        for state, content in zip(states, before, strict=True):
            state.clear()
            state.update(content)
