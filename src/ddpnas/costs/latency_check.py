"""check_latency(): a table's prediction for one network next to a new measurement of it.

:func:`time_network` is the measurement alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ddpnas.costs._latency_plan import LatencyPlan, Probe
from ddpnas.costs._timers import machine, opened_timer, waiting
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.stopwatch import measure, summary
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.read import checked_content

__all__ = ["LatencyCheck", "check_latency", "measured_here", "time_network", "waits_alike"]


@dataclass(frozen=True)
class LatencyCheck:
    """A table's prediction for one architecture next to a new measurement of its network.

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

    A table that was imported was not: two machines can have the same name.

    Example:
        >>> measured_here(CostTable("latency_ms", "ms", 1.0, {}))
        False
    """
    if not _is_measured(table) or "imported" in table.about:
        return False
    try:
        return bool(table.about["machine"] == machine(table.about["device"]))
    except OptionError:  # a device that this machine lacks
        return False


def waits_alike(table: CostTable) -> bool:
    """Return whether threads of this process wait for each other as when a table was measured.

    Otherwise a measurement of several threads cannot be compared with the table.

    Example:
        >>> waits_alike(CostTable("latency_ms", "ms", 1.0, {}, {"threads": 1}))
        True
    """
    return bool(table.about.get("threads", 1) == 1 or table.about.get("waiting") == waiting())


def time_network(
    space: SearchSpace, architecture: Architecture, config: LatencyConfig | None = None
) -> dict[str, float]:
    """Return the milliseconds of a network that is built anew.

    Args:
        space: The space.
        architecture: One of its architectures.
        config: How it is timed.

    Returns:
        "median_ms" and "iqr_ms" of the quietest round, and the numbers of "times" and "rounds".

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> quick = LatencyConfig(seconds=0.001, rounds=1, most_rounds=1)
        >>> time_network(space, space.decode([0, 0, 0, 0]), quick)["median_ms"] > 0
        True
    """
    config = config or LatencyConfig()
    plan = LatencyPlan((), {"network": Probe("network", architecture=architecture)})
    kept: dict[str, list[list[float]]] = {}
    with opened_timer(space, plan, config) as timer:
        measure(
            ["network"],
            timer,
            kept,
            dataclasses.asdict(config),
            lambda: None,
            lambda number, i, count: None,
        )
    return summary(kept["network"])


def _is_measured(table: CostTable) -> bool:
    settings = {"machine", "device", "backend", "batch", "threads"}
    return table.name == "latency_ms" and settings <= table.about.keys()


def check_latency(
    space: SearchSpace, table: CostTable, architecture: Mapping[str, str]
) -> LatencyCheck:
    """Return the table's prediction for an architecture next to a new measurement.

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
    if not _is_measured(table):
        raise OptionError(f"the table of {table.name} was not measured by ddpnas latency")
    fields = {field.name for field in dataclasses.fields(LatencyConfig)}
    settings = {name: about[name] for name in fields & about.keys()}
    config = checked_content(
        settings, LatencyConfig, "the settings in the latency table", OptionError
    )
    table.check(space)
    if about["machine"] != machine(config.device):
        raise OptionError(
            f"the table was measured on another machine: {about['machine']}; this is "
            f"{machine(config.device)}"
        )
    wanted = space.check(architecture)
    found = time_network(space, wanted, config)
    predicted = table.cost(wanted)
    return LatencyCheck(
        architecture=wanted,
        predicted_ms=predicted,
        measured_ms=found["median_ms"],
        iqr_ms=found["iqr_ms"],
        error_percent=100 * (predicted / found["median_ms"] - 1),
    )
