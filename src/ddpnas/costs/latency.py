"""measure_latency(): a table of milliseconds, every distinct operation timed once on a device.

The network is taken apart (:mod:`ddpnas.costs._units`, and :mod:`ddpnas.costs._operations` where
widths are undecided). Each distinct part is timed alone, and some random networks are timed whole.
All take turns, round after round, so that a slow moment of the machine is shared. Where there are
too many parts for the time, some are interpolated (:mod:`ddpnas.costs._interpolation`). The table
is fitted to the whole networks and reports its error on networks that were left out of the fit
(:mod:`ddpnas.costs._additivity`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from ddpnas.costs._additivity import LEAST_ARCHITECTURES, check_additivity
from ddpnas.costs._latency_plan import (
    LatencyPlan,
    interpolation,
    make_plan,
    raw_terms,
)
from ddpnas.costs._timers import machine, opened_timer, versions, waiting
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.stopwatch import load, measure, summary
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, OptionError, SpaceError
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.read import Whole, read_json
from ddpnas.utils.settings import checked, checked_options, checks_arguments
from ddpnas.utils.shapes import Range, hints_of

__all__ = [
    "CheckForm",
    "RoundForm",
    "latency_table",
    "measure_latency",
    "plan_of",
]

Milliseconds = Annotated[float, Range(0)]
RoundForm = tuple[  # quartiles in milliseconds, and the number of times: :func:`summary`
    Milliseconds, Milliseconds, Milliseconds, Annotated[float, Range(1)]
]
OnProgress = Callable[[int, int, int], object]

_SAVING = 1.0  # seconds of timings that may be lost, at most, where a measurement is killed


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
    seconds: NotRequired[Annotated[float, Range(0)]]


@checks_arguments
def measure_latency(
    space: SearchSpace,
    config: LatencyConfig | None = None,
    *,
    networks: Sequence[Architecture] = (),
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
        networks: Architectures that are among those measured whole, so that the table fits such as
            are wanted; all others are drawn at random.
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
        **({"networks": [space.format(one) for one in networks]} if networks else {}),
        "machine": machine(config.device),
        "versions": versions(config.backend),
        **({"waiting": waiting()} if config.threads > 1 else {}),
    }
    busy = [load()]
    plan = plan_of(space, config, networks)
    kept = _Kept(partial, about, plan)
    with opened_timer(space, plan, config, partial, about) as timer:
        try:
            _time_all(plan, timer, kept, config, on_progress or (lambda number, i, count: None))
        finally:
            kept.save()
    ended = {"date": time.strftime("%Y-%m-%d"), "load": [*busy, load()]}
    return latency_table(space, plan, kept.times, {**about, **ended})


def _time_all(
    plan: LatencyPlan,
    timer: Callable[[str], list[float]],
    kept: _Kept,
    config: LatencyConfig,
    on_progress: OnProgress,
) -> None:
    """Time the plan, into ``kept``: as many of its optional operations as the time allows."""
    seconds = 60 * config.minutes

    def save() -> None:
        kept.save(every=_SAVING)

    names = [name for name in plan.probes if name not in plan.optional]
    one = {**dataclasses.asdict(config), "rounds": 1, "most_rounds": 1}
    measure(names, timer, kept.times, one, save, on_progress)
    for done, name in enumerate(plan.optional, 1):
        if name not in kept.times and kept.seconds > seconds / config.rounds:
            break
        if name not in kept.times:
            kept.times[name] = [timer(name)]
            save()
        names.append(name)
        on_progress(1, done, len(plan.optional))
    measure(
        names, timer, kept.times, dataclasses.asdict(config), save, on_progress,
        lambda: kept.seconds > seconds,
    )  # fmt: skip


class _Kept:
    """The times so far, in a file if one is given.

    Args:
        partial: The file; it may be there from before.
        about: What is measured; a file about something else is refused.
        plan: What is timed.

    Attributes:
        times: Probe name -> quartiles of every round.
    """

    def __init__(
        self, partial: str | Path | None, about: Mapping[str, Any], plan: LatencyPlan
    ) -> None:
        self._path, self._about = None if partial is None else Path(partial), about
        self.times: dict[str, list[list[float]]] = {}
        self._before, self._started = 0.0, time.perf_counter()
        self._saved = -math.inf
        if self._path is None or not self._path.exists():
            return
        before: _PartialForm = read_json(self._path, _PartialForm, DataError)
        now = json.loads(json.dumps(about))
        differing = [name for name in now if before["about"].get(name) != now[name]]
        if differing or not set(before["times"]) <= set(plan.probes):
            raise DataError(
                f"{partial} belongs to another measurement (other "
                f"{', '.join(differing) or 'units'}); remove it to start again"
            )
        self.times = {n: [list(round_) for round_ in found] for n, found in before["times"].items()}
        self._before = before.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """How long the measurement has taken, also before an interruption."""
        return self._before + time.perf_counter() - self._started

    def save(self, every: float = 0.0) -> None:
        """Write the file, unless it was written less than ``every`` seconds ago."""
        if self._path is None or time.perf_counter() - self._saved < every:
            return
        content = {"about": self._about, "times": self.times, "seconds": self.seconds}
        with writable(self._path.parent):
            write_atomic(self._path, json.dumps(content).encode())
        self._saved = time.perf_counter()


def plan_of(
    space: SearchSpace, config: LatencyConfig, networks: Sequence[Architecture] = ()
) -> LatencyPlan:
    """Return what is timed for the table, after checking that costs are a sum over choices.

    Args:
        space: The space.
        config: Batch size, and the number and seed of whole networks.
        networks: Architectures that are among these.

    Raises:
        SpaceError: The costs are not a sum, or there are too few different networks for a check.
        OptionError: Widths are undecided, and the backend is not torch.
    """
    count_costs(space)
    if config.backend != "torch" and any(decision.ordered for decision in space.decisions):
        raise OptionError(
            f"space {space.name!r} has undecided widths, which only torch can time: use backend "
            f"torch here, and measure the built network with {config.backend}"
        )
    plan = make_plan(space, config.batch, config.architectures, config.seed, networks)
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
            **({"interpolation": interpolation(plan, medians)} if plan.pieces else {}),
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


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with None for NaN, which JSON lacks."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        name: [plain(v) for v in value] if isinstance(value, tuple) else plain(value)
        for name, value in data.items()
    }
