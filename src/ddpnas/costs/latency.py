"""measure_latency(): a table of milliseconds, every distinct operation timed once on a device.

The network is taken apart (:mod:`ddpnas.costs._units`), each distinct unit is timed alone, and so
are some random networks whole, all in turn, round after round, so that a slow moment of the machine
does not meet one of them alone. The table is fitted to the whole networks, and says how far off it
is on networks that were left out (:mod:`ddpnas.costs._additivity`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpnas.costs._additivity import LEAST_ARCHITECTURES, check_additivity
from ddpnas.costs._latency_plan import LatencyPlan, Probe, make_plan, raw_terms
from ddpnas.costs._timers import machine, opened_timer, versions
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.stopwatch import load, measure, summary, write_json
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, OptionError, SpaceError, nearest
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.files import read_json, writable

__all__ = [
    "LatencyCheck",
    "check_latency",
    "latency_table",
    "measure_latency",
    "plan_of",
]

OnProgress = Callable[[int, int, int], object]


def measure_latency(
    space: SearchSpace,
    config: LatencyConfig | None = None,
    *,
    partial: str | Path | None = None,
    on_progress: OnProgress | None = None,
    **settings: Any,
) -> CostTable:
    """Return the table "latency_ms" of the space's final networks in float32 on this machine.

    Its ``about`` has the machine, the versions, the settings, the median and interquartile range
    of every distinct unit, and under "check" how well the table predicts whole networks. These
    are canonical (:meth:`SearchSpace.canonical`): onnxruntime leaves out what does not reach the
    output, so that for other architectures the table is an upper bound.

    Args:
        space: any.
        config: how; or fields of :class:`LatencyConfig` as ``settings``: ``device="cuda"``.
        partial: a file that keeps what is measured until all is; an interrupted measurement goes
            on from there.
        on_progress: called after each timing with the round, and how many of how many it timed.
        settings: fields that differ from those of ``config``.

    Raises:
        SpaceError: costs that are no sum over choices, see :func:`ddpnas.count_costs`.
        OptionError: a setting that is none, a device or package that is not there.
        DataError: ``partial`` is of another measurement.
    """
    config = dataclasses.replace(config or LatencyConfig(), **_known(settings))
    about = {
        **_about(space, config),
        "machine": machine(config.device),
        "versions": versions(config.backend),
    }
    busy = [load()]
    plan = plan_of(space, config)
    kept = _resumed(partial, about, plan)

    def save() -> None:
        if partial is not None:
            with writable(Path(partial).parent):
                write_json(Path(partial), {"about": about, "times": kept})

    with opened_timer(space, plan, config, partial) as timer:
        measure(
            list(plan.probes),
            timer,
            kept,
            dataclasses.asdict(config),
            save,
            on_progress or (lambda number, i, count: None),
        )
    ended = {"date": time.strftime("%Y-%m-%d"), "load": [*busy, load()]}
    table = latency_table(space, plan, kept, {**about, **ended})
    if partial is not None:
        Path(partial).unlink(missing_ok=True)
    return table


def plan_of(space: SearchSpace, config: LatencyConfig) -> LatencyPlan:
    """Return what is timed for the table, after checking that costs are a sum over choices.

    Raises:
        SpaceError: they are not, or there are too few different networks to check times on.
    """
    count_costs(space)
    plan = make_plan(space, config.batch, config.architectures, config.seed)
    if len(plan.networks) < LEAST_ARCHITECTURES:
        raise SpaceError(
            f"space {space.name!r} has {len(plan.networks)} different networks; whether times add "
            f"up is checked on at least {LEAST_ARCHITECTURES}"
        )
    return plan


def latency_table(
    space: SearchSpace,
    plan: LatencyPlan,
    times: Mapping[str, list[list[float]]],
    about: Mapping[str, Any],
) -> CostTable:
    """Return the table that is fitted to the whole networks among these times.

    Args:
        space: of the plan.
        plan: what was timed.
        times: probe name -> quartiles of every round, in milliseconds.
        about: where and how.
    """
    summaries = {name: summary(rounds) for name, rounds in times.items()}
    medians = {name: found["median_ms"] for name, found in summaries.items()}
    raw = CostTable("latency_ms", "ms", 0.0, raw_terms(plan, medians))
    networks = plan.networks
    found = check_additivity(
        [raw.cost(architecture) for architecture in networks.values()],
        [medians[name] for name in networks],
    )
    rows = [
        {
            "architecture": space.format(architecture),
            "predicted_ms": predicted,
            **summaries[name],
        }
        for (name, architecture), predicted in zip(
            networks.items(), found.predicted_ms, strict=True
        )
    ]
    check = dataclasses.asdict(found)
    del check["predicted_ms"]
    return CostTable(
        "latency_ms",
        "ms",
        found.overhead_ms + found.scale * raw.fixed,
        {choices: found.scale * time for choices, time in raw.terms.items()},
        {
            **about,
            "parts": {n: s for n, s in summaries.items() if n not in networks},
            "check": {**_finite(check), "networks": rows},
        },
    )


def _about(space: SearchSpace, config: LatencyConfig) -> dict[str, Any]:
    return {
        **space.identity,
        "options": space.plain_options,
        "dtype": "float32",
        **dataclasses.asdict(config),
    }


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(LatencyConfig)]
    for name in settings:
        if name not in names:
            raise OptionError(nearest("setting of a latency measurement", name, names))
    return dict(settings)


def _resumed(
    partial: str | Path | None, about: Mapping[str, Any], plan: LatencyPlan
) -> dict[str, list[list[float]]]:
    """Return the times of an interrupted measurement; none where there is no such file."""
    if partial is None or not Path(partial).exists():
        return {}
    before = read_json(Path(partial))
    now = json.loads(json.dumps(about))
    differing = [name for name in now if before["about"].get(name) != now[name]]
    if differing or not set(before["times"]) <= set(plan.probes):
        raise DataError(
            f"{partial} is of another measurement (other {', '.join(differing) or 'parts'}); "
            f"remove it to begin anew"
        )
    times: dict[str, list[list[float]]] = before["times"]
    return times


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with None for NaN, which JSON lacks."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        name: [plain(v) for v in value] if isinstance(value, tuple) else plain(value)
        for name, value in data.items()
    }


@dataclass(frozen=True)
class LatencyCheck:
    """A table's prediction for one architecture, and its network measured anew.

    Attributes:
        architecture: which.
        predicted_ms: by the table.
        measured_ms: median of the whole network.
        iqr_ms: interquartile range of its runs.
        error_percent: of the prediction, relative to the measurement.
    """

    architecture: Architecture
    predicted_ms: float
    measured_ms: float
    iqr_ms: float
    error_percent: float


def check_latency(
    space: SearchSpace, table: CostTable, architecture: Mapping[str, str]
) -> LatencyCheck:
    """Return the table's prediction for an architecture beside a new measurement of its network.

    Measured as the table was: device, backend, batch and threads are those it names.

    Raises:
        OptionError: the table is no latency table of this space, or of another machine.
    """
    about = table.about
    fields = {field.name for field in dataclasses.fields(LatencyConfig)}
    if table.name != "latency_ms" or not fields <= set(about):
        raise OptionError(f"the table of {table.name} was not measured by ddpnas latency")
    config = LatencyConfig(**{name: about[name] for name in fields})
    table.check(space)
    if about["machine"] != machine(config.device):
        raise OptionError(
            f"the table is of another machine: {about['machine']}; this is {machine(config.device)}"
        )
    checked = space.check(architecture)
    plan = LatencyPlan((), {"network": Probe("network", architecture=checked)})
    kept: dict[str, list[list[float]]] = {}
    with opened_timer(space, plan, config, None) as timer:
        measure(
            ["network"],
            timer,
            kept,
            dataclasses.asdict(config),
            lambda: None,
            lambda number, i, count: None,
        )
    found = summary(kept["network"])
    predicted = table.cost(checked)
    return LatencyCheck(
        architecture=checked,
        predicted_ms=predicted,
        measured_ms=found["median_ms"],
        iqr_ms=found["iqr_ms"],
        error_percent=100 * (predicted / found["median_ms"] - 1),
    )
