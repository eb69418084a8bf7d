"""measure_latency(): a table of milliseconds, every distinct operation timed once on a device.

The network is taken apart (:mod:`ddpnas.costs.parts`), each distinct part is timed alone, and so
are some random networks whole, all in turn, round after round, so that a slow moment of the machine
does not meet one of them alone. The table is fitted to the whole networks, and says how far off it
is on networks that were left out (:mod:`ddpnas.costs.additivity`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ddpnas._version import __version__
from ddpnas.architecture import Architecture
from ddpnas.cost_table import CostTable
from ddpnas.costs.additivity import LEAST_ARCHITECTURES, check_additivity
from ddpnas.costs.counted import count_costs
from ddpnas.costs.onnx_files import export_probes, need_onnx
from ddpnas.costs.parts import caller
from ddpnas.costs.plan import LatencyPlan, Probe, make_plan, raw_terms
from ddpnas.costs.stopwatch import (
    OnnxTimer,
    load,
    measure,
    processor,
    quartiles,
    summary,
    write_json,
)
from ddpnas.disk import read_json, writable
from ddpnas.errors import DataError, OptionError, nearest
from ddpnas.space import SearchSpace

__all__ = [
    "LatencyCheck",
    "LatencyConfig",
    "check_latency",
    "latency_table",
    "measure_latency",
    "plan_of",
    "require_same_network",
]

Timer = Callable[[str], list[float]]
OnProgress = Callable[[int, int, int], object]


@dataclass(frozen=True)
class LatencyConfig:
    """How latency is measured.

    Attributes:
        device: "cpu" or "cuda".
        backend: "torch", operation by operation, or "onnxruntime", which fuses what it can.
        batch: inputs at once.
        threads: of one operation.
        architectures: how many random networks are measured whole, to fit and check the table.
        seed: of these.
        seconds: how long a thing is run in a round.
        rounds: in which everything is timed.
        most_rounds: how many more there may be for what has not settled, in all.
        spread: settled is what has two rounds whose medians differ by less than this part, the two
            lowest.
    """

    device: str = "cpu"
    backend: Literal["torch", "onnxruntime"] = "torch"
    batch: int = 1
    threads: int = 1
    architectures: int = 20
    seed: int = 0
    seconds: float = 0.2
    rounds: int = 3
    most_rounds: int = 9
    spread: float = 0.05

    def __post_init__(self) -> None:
        if self.backend not in ("torch", "onnxruntime"):
            raise OptionError(nearest("backend", self.backend, ("torch", "onnxruntime")))
        if self.device not in ("cpu", "cuda"):
            raise OptionError(nearest("device", self.device, ("cpu", "cuda")))
        for name in ("batch", "threads", "rounds"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.most_rounds < self.rounds:
            raise OptionError(f"most_rounds is at least rounds, {self.rounds}")
        if not self.seconds > 0 or not self.spread > 0:
            raise OptionError("seconds and spread are above 0")
        if self.architectures < LEAST_ARCHITECTURES:
            raise OptionError(
                f"architectures is at least {LEAST_ARCHITECTURES}, not {self.architectures}: that "
                f"times add up is checked, not assumed"
            )


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
    of every distinct part, and under "check" how well the table predicts whole networks. These
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
        "machine": _machine(config.device),
        "versions": _versions(config.backend),
    }
    busy = [load()]
    plan = plan_of(space, config)
    kept = _resumed(partial, about, plan)

    def save() -> None:
        if partial is not None:
            with writable(Path(partial).parent):
                write_json(Path(partial), {"about": about, "times": kept})

    with _timer(space, plan, config, partial) as timer:
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
    """Return what is timed for the table, after checking that costs are a sum over choices."""
    count_costs(space)
    return make_plan(space, config.batch, config.architectures, config.seed)


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
    terms = raw_terms(plan, medians)
    fixed = terms.pop(())
    raw = CostTable("latency_ms", "ms", fixed, terms)
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
        found.overhead_ms + found.scale * fixed,
        {pairs: found.scale * time for pairs, time in terms.items()},
        {
            **about,
            "parts": {n: s for n, s in summaries.items() if n not in networks},
            "check": {**_finite(check), "networks": rows},
        },
    )


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
    if about["machine"] != _machine(config.device):
        raise OptionError(
            f"the table is of another machine: {about['machine']}; this is "
            f"{_machine(config.device)}"
        )
    checked = space.check(architecture)
    plan = LatencyPlan((), {"network": Probe("network", architecture=checked)})
    kept: dict[str, list[list[float]]] = {}
    with _timer(space, plan, config, None) as timer:
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
    about = table.about
    if "space" not in about or "options" not in about:
        return
    now = json.loads(json.dumps(space.plain_options))
    before = json.loads(json.dumps(about["options"]))
    if about["space"] != space.name:
        raise OptionError(
            f"the table of {table.name} is of space {about['space']}, not of {space.name}"
        )
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        listed = ", ".join(f"{n} {before.get(n)} instead of {now.get(n)}" for n in differing)
        raise OptionError(f"the table of {table.name} is of another network: {listed}")


@contextlib.contextmanager
def _timer(
    space: SearchSpace, plan: LatencyPlan, config: LatencyConfig, partial: str | Path | None
) -> Iterator[Timer]:
    """Give what times a probe by name; ONNX files lie beside ``partial`` as long as it does."""
    if config.backend == "torch":
        yield _TorchTimer(space, plan, config)
        return
    need_onnx("onnxruntime")
    if partial is None:
        with tempfile.TemporaryDirectory() as folder:
            export_probes(space, plan, config.batch, Path(folder))
            yield _onnx_timer(Path(folder), config)
        return
    files = Path(f"{partial}.onnx")
    export_probes(space, plan, config.batch, files)
    yield _onnx_timer(files, config)
    shutil.rmtree(files)


def _onnx_timer(folder: Path, config: LatencyConfig) -> OnnxTimer:
    import onnxruntime

    if config.device == "cuda" and "CUDAExecutionProvider" not in (
        available := onnxruntime.get_available_providers()
    ):
        raise OptionError(f"onnxruntime cannot run on cuda here; it has {', '.join(available)}")
    return OnnxTimer(folder, config.device, config.threads, config.seconds)


class _TorchTimer:
    """Times probes with :mod:`torch.utils.benchmark`, without gradients."""

    def __init__(self, space: SearchSpace, plan: LatencyPlan, config: LatencyConfig) -> None:
        self._space, self._plan, self._config = space, plan, config
        self._device = torch.device(config.device)
        with self._device:
            self._opened = space.opened() if plan.parts else None

    def __call__(self, name: str) -> list[float]:
        """Return the quartiles of one round, in milliseconds."""
        from torch.utils.benchmark import Timer as TorchTimer

        timer = TorchTimer(
            "run()",
            globals={"run": self._run(self._plan.probes[name])},
            num_threads=self._config.threads,
        )
        with torch.inference_mode():
            timer.timeit(1)
            timing = timer.blocked_autorange(min_run_time=self._config.seconds)
        return quartiles([1000 * seconds for seconds in timing.times])

    def _run(self, probe: Probe) -> Callable[[], Any]:
        if probe.architecture is not None:
            with self._device:
                network = self._space.build(probe.architecture).eval()
            shape = (self._config.batch, *self._space.input_shape)
            example = self._real(torch.empty(shape, dtype=self._space.input_dtype, device="meta"))
            return lambda: network(example)
        if probe.part is None:
            return lambda: None
        assert self._opened is not None
        inputs = tree_map(self._real, probe.part.inputs)
        return caller(self._opened, probe.part, inputs, tree_map(self._real, probe.outputs()))

    def _real(self, value: Any) -> Any:
        """Return random numbers, or zeros of whole numbers, in the place of a tensor."""
        if not isinstance(value, Tensor):
            return value
        make = torch.randn if value.is_floating_point() else torch.zeros
        return make(value.shape, dtype=value.dtype, device=self._device)


def _about(space: SearchSpace, config: LatencyConfig) -> dict[str, Any]:
    return {
        "space": space.name,
        "options": space.plain_options,
        "dtype": "float32",
        **dataclasses.asdict(config),
    }


def _machine(device: str) -> str:
    if device == "cpu":
        return processor()
    if not torch.cuda.is_available():
        raise OptionError("there is no CUDA device here; use device cpu")
    return torch.cuda.get_device_name()


def _versions(backend: str) -> dict[str, str]:
    versions = {
        "ddpnas": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
    }
    if backend == "onnxruntime":
        need_onnx("onnxruntime")
        import onnxruntime

        versions["onnxruntime"] = onnxruntime.__version__
    return versions


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
