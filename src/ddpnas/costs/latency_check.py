"""check_latency(): what a table predicts for an architecture, and its network measured anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ddpnas.costs._latency_plan import LatencyPlan, Probe
from ddpnas.costs._timers import LatencyConfig, machine, opened_timer
from ddpnas.costs.stopwatch import measure, summary
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import changed_files, without_folders

__all__ = ["LatencyCheck", "check_latency", "require_same_network"]


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
    require_same_network(table, space)
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


def require_same_network(table: CostTable, space: SearchSpace) -> None:
    """Raise :class:`OptionError` when a table says that it is of another space, width or input.

    A table that does not say of what it is (an own one) is taken as it is.
    """
    name, made_with = table.about.get("space"), table.about.get("options")
    own = space.identity["space"]
    if isinstance(name, str) and without_folders(name) != own:
        raise OptionError(f"the table of {table.name} is of space {name!r}, not {own!r}")
    if changed := changed_files(space.source, table.about.get("space_code")):
        raise OptionError(
            f"the table of {table.name} is of other code than that in "
            f"{' and '.join(map(str, changed))}; restore it, or make the table again"
        )
    if isinstance(made_with, Mapping):
        before = json.loads(json.dumps(made_with))
        now = json.loads(json.dumps(space.plain_options))
        differing = [option for option in before if option in now and before[option] != now[option]]
        if differing:
            listed = ", ".join(f"{o} {before[o]} instead of {now[o]}" for o in differing)
            raise OptionError(f"the table of {table.name} is of another network: {listed}")
