"""Latency on another machine: files and a script to copy there, measurements to bring back.

``export_latency`` writes ONNX files of everything that is timed, a manifest, and ``measure.py``
(:mod:`ddpnas.costs.stopwatch`), which needs only NumPy and onnxruntime there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ddpnas.costs import stopwatch
from ddpnas.costs._onnx_probes import export_probes
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.latency import RoundForm, latency_table, plan_of
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, SpaceError
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import CodeForm
from ddpnas.utils.environment import versions
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.read import checked_content, read_json

__all__ = ["export_latency", "import_latency", "read_measurements"]

SCRIPT = "measure.py"


def export_latency(
    space: SearchSpace,
    out: str | Path,
    config: LatencyConfig | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write a folder that measures latency by onnxruntime wherever it is copied.

    Args:
        space: The space.
        out: The folder. An interrupted export continues with the files that are missing.
        config: How to measure there; the backend is onnxruntime in any case.
        on_progress: Called with the number of files written so far and their total.

    Raises:
        DataError: The folder holds another export.
        SpaceError: The costs are not a sum over choices, or there are too few networks.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> export_latency(space, "to-the-phone")  # doctest: +SKIP
        >>> # Copy the folder, run measure.py there, and bring measurements.json back.
        >>> measurements = read_measurements("measurements.json")  # doctest: +SKIP
        >>> import_latency(measurements, space).save("latency.json")  # doctest: +SKIP
    """
    config = dataclasses.replace(config or LatencyConfig(), backend="onnxruntime")
    plan = plan_of(space, config)
    manifest = {
        **space.identity,
        "options": space.plain_options,
        "settings": dataclasses.asdict(config),
        "names": list(plan.probes),
        "exported_with": versions("torch"),
    }
    folder = Path(out)
    target = folder / stopwatch.MANIFEST
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists() and read_json(target, error=DataError) != json.loads(
            json.dumps(manifest)
        ):
            raise DataError(f"{out} holds another export; choose another --out")
        write_atomic(target, json.dumps(manifest).encode())
        write_atomic(folder / SCRIPT, Path(stopwatch.__file__).read_bytes())
    export_probes(space, plan, config.batch, folder, on_progress)


def read_measurements(path: str | Path) -> dict[str, Any]:
    """Return what ``measure.py`` wrote.

    Args:
        path: Its file ``measurements.json``.

    Raises:
        DataError: The file is something else, or damaged.
    """
    found: dict[str, Any] = read_json(path, _MeasurementsForm, DataError)
    if lacking := [name for name in found["names"] if not found["times"].get(name)]:
        raise DataError(f"cannot use {path}: it has no times of {lacking[0]!r}")
    return found


class _MeasuredForm(TypedDict):
    machine: str


class _ExportedForm(TypedDict):
    ddpnas: str
    torch: str


class _MeasurementsForm(TypedDict):
    """What ``measure.py`` writes."""

    space: str | None
    space_code: NotRequired[CodeForm | None]
    options: dict[str, Any]
    settings: dict[str, Any]
    names: list[str]
    times: dict[str, list[RoundForm]]
    measured_with: _MeasuredForm
    exported_with: _ExportedForm
    date: str
    load: list[float | None]


def import_latency(measurements: Mapping[str, Any], space: SearchSpace) -> CostTable:
    """Return the table of measurements that were made on another machine.

    Args:
        measurements: What :func:`read_measurements` returned.
        space: The space that was exported, with the same options.

    Raises:
        SpaceError: The space is not the one that was exported.
    """
    config = checked_content(measurements["settings"], LatencyConfig, "the measurements", DataError)
    plan = plan_of(space, config)
    options = json.loads(json.dumps(space.plain_options))
    if measurements["options"] != options or measurements["names"] != list(plan.probes):
        exported = measurements["exported_with"]
        raise SpaceError(
            f"these measurements belong to another network than space {space.name!r} with "
            f"{options}: {measurements['space']!r} with {measurements['options']}, exported by "
            f"ddpnas {exported['ddpnas']} and torch {exported['torch']}"
        )
    measured = measurements["measured_with"]
    about = {
        **space.identity,
        "options": space.plain_options,
        "dtype": "float32",
        **dataclasses.asdict(config),
        "machine": measured["machine"],
        "imported": True,
        "versions": {
            **{name: value for name, value in measured.items() if name != "machine"},
            **measurements["exported_with"],
        },
        "date": measurements["date"],
        "load": measurements["load"],
    }
    return latency_table(space, plan, measurements["times"], about)
