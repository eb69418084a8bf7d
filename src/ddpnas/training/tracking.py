"""Trackers follow a training while it goes on: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpnas.errors import OptionError

__all__ = ["Log", "tracked"]

Log = Callable[[Mapping[str, float]], object]


@contextlib.contextmanager
def tracked(track: str | None, folder: Path | None, config: Mapping[str, Any]) -> Iterator[Log]:
    """Provide a function that logs the record of an epoch.

    Accelerate starts and feeds the tracker; of several processes, the first one logs.

    Args:
        track: "tensorboard", "mlflow" or "wandb"; None for a function that does nothing.
        folder: Folder for the tracker's files.
        config: Settings to log at the start; those that are not plain numbers or texts are
            left out.

    Raises:
        OptionError: The tracker is not installed, or there is no folder.

    Example:
        >>> with tracked(None, None, {}) as log:
        ...     log({"epoch": 1, "loss": 0.5})
    """
    if track is None:
        yield lambda record: None
        return
    if folder is None:
        raise OptionError(f"tracking with {track} needs a folder for its files")
    if importlib.util.find_spec(track) is None:
        raise OptionError(f"tracking with {track} needs its package: pip install {track}")
    from accelerate import Accelerator

    accelerator = Accelerator(log_with=track, project_dir=folder)
    plain = {k: v for k, v in config.items() if isinstance(v, (bool, int, float, str))}
    accelerator.init_trackers("ddpnas", config=plain)
    try:
        yield lambda record: accelerator.log(dict(record), step=int(record["epoch"]))
    finally:  # an interrupted training, too: what was logged is written, and the run is closed
        for tracker in accelerator.trackers:
            tracker.finish()
