"""What times a unit or a network, by torch or onnxruntime, and what it was timed on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ddpnas.costs._latency_plan import LatencyPlan, Probe
from ddpnas.costs._onnx_probes import export_probes
from ddpnas.costs._units import bind
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.stopwatch import MANIFEST, CannotRunError, OnnxTimer, processor, quartiles
from ddpnas.errors import OptionError
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.environment import environment
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.onnx import need_onnx

__all__ = ["machine", "opened_timer", "versions", "waiting"]

Timer = Callable[[str], list[float]]

_BLOCK = 5e-4  # seconds that a block of runs takes, far more than reading the clock does
_OPERATION = 0.05  # time of an operation, of which there are thousands, relative to a network's


@contextlib.contextmanager
def opened_timer(
    space: SearchSpace,
    plan: LatencyPlan,
    config: LatencyConfig,
    partial: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Iterator[Timer]:
    """Yield a function that times a probe by name.

    Args:
        space: The space of the plan.
        plan: What is timed.
        config: How it is timed.
        partial: The file of timings so far. ONNX files are kept next to it until all is timed, so
            that an interrupted measurement need not export them again.
        about: What is measured; needed with ``partial``. Files of another measurement are removed.
    """
    if config.backend == "torch":
        yield _TorchTimer(space, plan, config)
        return
    need_onnx("onnxruntime")
    if partial is None:
        with tempfile.TemporaryDirectory() as folder:
            timer = _onnx_timer(Path(folder), config)
            export_probes(space, plan, config.batch, Path(folder))
            yield timer
        return
    files = Path(f"{partial}.onnx")
    timer = _onnx_timer(files, config)
    with writable(files):
        _keep_only(files, about)
    export_probes(space, plan, config.batch, files)
    yield timer
    shutil.rmtree(files)


def _keep_only(folder: Path, about: Mapping[str, Any] | None) -> None:
    """Make a folder of ONNX files, or empty it if they are those of another measurement.

    Their names do not tell: network-0.onnx is another network with another seed.
    """
    manifest, now = folder / MANIFEST, json.dumps(about).encode()
    if not manifest.exists() or manifest.read_bytes() != now:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_atomic(manifest, now)


def _onnx_timer(folder: Path, config: LatencyConfig) -> OnnxTimer:
    try:
        return OnnxTimer(folder, config.device, config.threads, config.seconds)
    except CannotRunError as error:
        raise OptionError(str(error)) from None


class _TorchTimer:
    """Times probes without gradients.

    One thread on a CPU is timed by its own clock, which stands still while other programs have the
    processor. Everything else is timed by the clock of ``torch.utils.benchmark``, which waits for
    the device.
    """

    def __init__(self, space: SearchSpace, plan: LatencyPlan, config: LatencyConfig) -> None:
        self._space, self._plan, self._config = space, plan, config
        self._device = torch.device(config.device)
        with self._device:
            self._opened = space.opened() if plan.units else None

    def __call__(self, name: str) -> list[float]:
        """Return the quartiles of one round, in milliseconds.

        Blocks of runs are short, so that an interruption by another process spoils few of them.
        """
        from torch.utils.benchmark import timer
        from torch.utils.benchmark.utils.common import set_torch_threads

        probe = self._plan.probes[name]
        alone = self._config.threads == 1 and self._device.type == "cpu"
        clock = timeit.Timer(self._run(probe), timer=time.thread_time if alone else timer)
        times: list[float] = []
        with set_torch_threads(self._config.threads), torch.inference_mode():
            clock.timeit(2)
            number = max(1, round(_BLOCK / max(clock.timeit(1), 1e-7)))
            share = 1 if probe.operation is None else _OPERATION
            end = time.perf_counter() + share * self._config.seconds
            while len(times) < 5 or time.perf_counter() < end:
                times.append(1000 * clock.timeit(number) / number)
        return quartiles(times)

    def _run(self, probe: Probe) -> Callable[[], Any]:
        if probe.architecture is not None:
            with self._device:
                network = self._space.build(probe.architecture).eval()
            shape = (self._config.batch, *self._space.input_shape)
            example = self._real(torch.empty(shape, dtype=self._space.input_dtype, device="meta"))
            return lambda: network(example)
        if probe.operation is not None:
            return probe.operation.run(self._made, self._device)
        if probe.unit is None:
            return lambda: None
        assert self._opened is not None
        inputs = tree_map(self._real, probe.unit.inputs)
        return bind(self._opened, probe.unit, inputs, tree_map(self._real, probe.outputs()))

    def _real(self, value: Any) -> Any:
        """Return random numbers, or zeros of whole numbers, in the place of a tensor."""
        return self._made(value.shape, None, value.dtype) if isinstance(value, Tensor) else value

    def _made(
        self, shape: Sequence[int], strides: Sequence[int] | None, dtype: torch.dtype
    ) -> Tensor:
        if strides is not None:  # as a part of a larger tensor
            last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
            return self._made((1 + last,), None, dtype).as_strided(shape, strides)
        make = torch.randn if dtype.is_floating_point else torch.zeros
        return make(tuple(shape), dtype=dtype, device=self._device)


def machine(device: str) -> str:
    """Return the name of the processor or, for "cuda", of the GPU."""
    if device == "cpu":
        return processor()
    if not torch.cuda.is_available():
        raise OptionError("there is no CUDA device here; use device cpu")
    return torch.cuda.get_device_name()


def waiting() -> str:
    """Return how the threads of this process wait for each other, as the environment says it.

    It decides the time that operations of several threads take; see :mod:`ddpnas.__main__`.
    """
    return os.environ.get("OMP_WAIT_POLICY", "default").upper()


def versions(backend: str) -> dict[str, str]:
    """Return the versions of the libraries that a measurement depends on."""
    if backend != "onnxruntime":
        return environment("torch", "numpy")
    need_onnx("onnxruntime")
    return environment("torch", "numpy", "onnxruntime")
