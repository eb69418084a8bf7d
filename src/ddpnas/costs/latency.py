"""measure_latency(): a table of milliseconds, every distinct operation timed once on a device.

The network is taken apart (:mod:`ddpnas.costs._units`). Each distinct unit is timed alone, and some
random networks are timed whole. All take turns, round after round, so that a slow moment of the
machine is shared. The table is fitted to the whole networks and reports its error on networks that
were left out of the fit (:mod:`ddpnas.costs._additivity`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from ddpnas.costs._additivity import LEAST_ARCHITECTURES, check_additivity
from ddpnas.costs._latency_plan import LatencyPlan, Probe, make_plan, raw_terms
from ddpnas.costs._timers import machine, opened_timer, versions
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.stopwatch import load, measure, summary
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, OptionError, SpaceError
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.read import Whole, checked_content, read_json
from ddpnas.utils.settings import checked, checked_options
from ddpnas.utils.shapes import Range, hints_of

__all__ = [
    "CheckForm",
    "LatencyCheck",
    "RoundForm",
    "check_latency",
    "latency_table",
    "measure_latency",
    "measured_here",
    "plan_of",
]

Milliseconds = Annotated[float, Range(0)]
RoundForm = tuple[  # quartiles in milliseconds, and the number of times: :func:`summary`
    Milliseconds, Milliseconds, Milliseconds, Annotated[float, Range(1)]
]
OnProgress = Callable[[int, int, int], object]


class _NetworkForm(TypedDict):
    architecture: str
    predicted_ms: float
    median_ms: Milliseconds
    iqr_ms: Milliseconds


class CheckForm(TypedDict):
    """What a measured table keeps under "check" of its ``about``, as far as a reader needs it."""

    architectures: Whole
    mape_percent: float
    worst_percent: float
    networks: list[_NetworkForm]


class _PartialForm(TypedDict):
    """What the file of an interrupted measurement holds."""

    about: dict[str, Any]
    times: dict[str, list[RoundForm]]


def measure_latency(
    space: SearchSpace,
    config: LatencyConfig | None = None,
    *,
    partial: str | Path | None = None,
    on_progress: OnProgress | None = None,
    **settings: Any,
) -> CostTable:
    """Return the table "latency_ms" of the space's final networks in float32 on this machine.

    Its ``about`` holds the machine, the versions, the settings, the median and interquartile range
    of every distinct unit, and under "check" how well the table predicts whole networks. These
    networks are canonical (:meth:`SearchSpace.canonical`). For other architectures the table is an
    upper bound with onnxruntime, which leaves out what does not reach the output.

    Args:
        space: The space.
        config: How to measure.
        partial: A file that keeps the timings so far. An interrupted measurement continues from
            it. Remove it once the table is saved.
        on_progress: Called after each timing with the round, the number of timings in it so far,
            and their total.
        settings: Fields of :class:`LatencyConfig` that differ from ``config``, such as
            ``device="cuda"``.

    Raises:
        SpaceError: The costs are not a sum over choices, see :func:`ddpnas.count_costs`, or the
            space has fewer than 4 different networks.
        OptionError: A setting is unknown, or a device or package is missing.
        DataError: ``partial`` belongs to another measurement.

    Example:
        >>> import ddpnas
        >>> quick = LatencyConfig(architectures=4, seconds=0.001, rounds=1, most_rounds=1)
        >>> table = ddpnas.measure_latency(ddpnas.create_space("toy"), quick)
        >>> table.name, table.unit, table.about["check"]["architectures"]
        ('latency_ms', 'ms', 4)
    """
    checked("space of measure_latency()", SearchSpace, space)
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
                write_atomic(Path(partial), json.dumps({"about": about, "times": kept}).encode())

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
    return latency_table(space, plan, kept, {**about, **ended})


def plan_of(space: SearchSpace, config: LatencyConfig) -> LatencyPlan:
    """Return what is timed for the table, after checking that costs are a sum over choices.

    Args:
        space: The space.
        config: Batch size, and the number and seed of whole networks.

    Raises:
        SpaceError: The costs are not a sum, or there are too few different networks for a check.
    """
    count_costs(space)
    plan = make_plan(space, config.batch, config.architectures, config.seed)
    if len(plan.networks) < LEAST_ARCHITECTURES:
        raise SpaceError(
            f"space {space.name!r} has {len(plan.networks)} different networks; checking that "
            f"times add up takes at least {LEAST_ARCHITECTURES}"
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
        space: The space of the plan.
        plan: What was timed.
        times: Probe name -> quartiles of every round, in milliseconds.
        about: Where and how it was timed.
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
    return checked_options("a latency measurement", hints_of(LatencyConfig), settings)


def _resumed(
    partial: str | Path | None, about: Mapping[str, Any], plan: LatencyPlan
) -> dict[str, list[list[float]]]:
    """Return the times of an interrupted measurement; none where there is no such file."""
    if partial is None or not Path(partial).exists():
        return {}
    before: _PartialForm = read_json(partial, _PartialForm, DataError)
    now = json.loads(json.dumps(about))
    differing = [name for name in now if before["about"].get(name) != now[name]]
    if differing or not set(before["times"]) <= set(plan.probes):
        raise DataError(
            f"{partial} is of another measurement (other {', '.join(differing) or 'units'}); "
            f"remove it to start again"
        )
    return {name: [list(round_) for round_ in rounds] for name, rounds in before["times"].items()}


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
    """A table's prediction for one architecture beside a new measurement of its network.

    Attributes:
        architecture: The architecture.
        predicted_ms: What the table predicts.
        measured_ms: Median time of the whole network.
        iqr_ms: Interquartile range of its times.
        error_percent: Error of the prediction relative to the measurement; above 0 where the table
            predicts too much.

    Example:
        >>> LatencyCheck(Architecture({"op": "conv"}), 1.1, 1.0, 0.05, 10.0).error_percent
        10.0
    """

    architecture: Architecture
    predicted_ms: float
    measured_ms: float
    iqr_ms: float
    error_percent: float


def measured_here(table: CostTable) -> bool:
    """Return whether a table was measured on this machine, so that :func:`check_latency` takes it.

    Example:
        >>> measured_here(CostTable("latency_ms", "ms", 1.0, {}))
        False
    """
    fields = {field.name for field in dataclasses.fields(LatencyConfig)}
    if table.name != "latency_ms" or not {"machine", *fields} <= set(table.about):
        return False
    try:
        return bool(table.about["machine"] == machine(table.about["device"]))
    except OptionError:  # a device that this machine lacks
        return False


def check_latency(
    space: SearchSpace, table: CostTable, architecture: Mapping[str, str]
) -> LatencyCheck:
    """Return the table's prediction for an architecture beside a new measurement of its network.

    The network is measured as the table was: on the same device, by the same backend, with the
    same batch and threads.

    Args:
        space: The space of the table.
        table: A table of :func:`ddpnas.measure_latency`, measured on this machine.
        architecture: An option for every decision.

    Raises:
        OptionError: The table is not a latency table, or was measured on another machine.
        SpaceError: The table is of another space or network.

    Example:
        >>> import ddpnas
        >>> quick = LatencyConfig(architectures=4, seconds=0.001, rounds=1, most_rounds=1)
        >>> space = ddpnas.create_space("toy")
        >>> table = ddpnas.measure_latency(space, quick)
        >>> check_latency(space, table, space.decode([0, 0, 0, 0])).measured_ms > 0
        True
    """
    about = table.about
    fields = {field.name for field in dataclasses.fields(LatencyConfig)}
    if table.name != "latency_ms" or not {*fields, "machine"} <= set(about):
        raise OptionError(f"the table of {table.name} was not measured by ddpnas latency")
    settings = {name: about[name] for name in fields}
    config = checked_content(
        settings, LatencyConfig, "the settings in the latency table", OptionError
    )
    table.check(space)
    if about["machine"] != machine(config.device):
        raise OptionError(
            f"the table is of another machine: {about['machine']}; this is {machine(config.device)}"
        )
    wanted = space.check(architecture)
    plan = LatencyPlan((), {"network": Probe("network", architecture=wanted)})
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
    predicted = table.cost(wanted)
    return LatencyCheck(
        architecture=wanted,
        predicted_ms=predicted,
        measured_ms=found["median_ms"],
        iqr_ms=found["iqr_ms"],
        error_percent=100 * (predicted / found["median_ms"] - 1),
    )
