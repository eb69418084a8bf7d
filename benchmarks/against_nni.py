"""A search step of ddpnas against one of NNI 3.0, on the NAS-Bench-201 space.

The method is RandomOneShot (a random cell a step, the same for both), or one that trains a mixture
of all options: DARTS of the first order, GumbelDARTS or Proxyless. Batch, widths, settings of the
optimizers and number of threads are the same. The two run in separate processes. The
processes take turns in blocks of a few steps, so that only one works at a time and a machine whose
speed drifts gives the same ratio. NNI is timed as its step is defined (sample, forward, backward,
clip, update; with a mixture the logits first, on a batch of their own), without its trainer; in its
own memory layout, and in channels-last too. ddpnas sets a path once an epoch in a search; here it
does so in every step as well. Memory is that beyond what the process had before its first step.

NNI wants an environment of its own; ddpnas runs in it too, so that both use the same torch:

    python -m venv build/nni
    build/nni/bin/pip install nni==3.0 torch==2.14.1 'numpy<2' 'setuptools<81' pytorch_lightning
    build/nni/bin/pip install scipy safetensors filelock pyyaml pillow
    python -m benchmarks.against_nni --python build/nni/bin/python --out against-nni.json
    python -m benchmarks.against_nni --python build/nni/bin/python --method darts --cells 1
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import write_record

EDGES = ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3")
OPERATIONS = {  # NNI's name -> ours, the benchmark's
    "none": "none",
    "skip_connect": "skip_connect",
    "conv_1x1": "nor_conv_1x1",
    "conv_3x3": "nor_conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
}
# Name of a method of NNI -> our relaxation; None is a path a step.
METHODS = {"random": None, "darts": "softmax", "gumbel": "gumbel", "proxyless": "two-path"}
Step = Callable[[dict[str, str]], object]


def memory_mb() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """A process that does steps when it is told to."""

    def __init__(self, command: list[str]) -> None:
        source = Path(__file__).parents[1]
        path = os.pathsep.join([str(source), str(source / "src")])
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        ready = self._answer()
        self.versions, self._ready_mb = ready["versions"], ready["ready_mb"]
        self.seconds: list[float] = []
        self.memory_mb = 0.0

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker ended early, with code {self.process.wait()}")
        return dict(json.loads(line))

    def steps(self, cells: list[dict[str, str]]) -> list[float]:
        """Return the seconds of a step on each of the cells."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(cells) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.memory_mb = answer["peak_mb"] - self._ready_mb
        return list(answer["seconds"])


def work(options: argparse.Namespace) -> None:
    """Answer with steps of ddpnas until standard input ends."""
    import ddpnas

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    space = ddpnas.create_space(
        "nasbench201", channels=options.channels, cells_per_stage=options.cells
    )
    relaxation = METHODS[options.method]
    inputs = torch.randn(options.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    batch = inputs, torch.arange(options.batch) % 10
    step = path_step(space, batch) if relaxation is None else mixture_step(space, relaxation, batch)
    versions = {"ddpnas": ddpnas.__version__, "torch": torch.__version__}
    print(json.dumps({"versions": versions, "ready_mb": memory_mb()}), flush=True)
    for line in sys.stdin:
        seconds = []
        for cell in json.loads(line):
            started = time.perf_counter()
            step(cell)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds, "peak_mb": memory_mb()}), flush=True)


def path_step(space: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> Step:
    """Return what trains the shared weights of one cell for a step."""
    from ddpnas.training.device import place
    from ddpnas.training.steps import TrainStep, train_epoch

    from .step import optimizer_of

    supernet = place(space.supernet(), torch.device("cpu")).train()
    optimizer = optimizer_of(list(supernet.parameters()))

    def step(cell: dict[str, str]) -> None:
        supernet.set_path({f"{e[2]}<-{e[0]}": OPERATIONS[o] for e, o in cell.items()})
        path = supernet.path_parameters()
        optimizer.param_groups[0]["params"] = path
        train_epoch(TrainStep(supernet, optimizer, path, clip=5.0), [batch])

    return step


def mixture_step(space: Any, relaxation: str, batch: tuple[torch.Tensor, torch.Tensor]) -> Step:
    """Return what trains logits, then weights, of a mixture for a step; it takes no cell."""
    from ddpnas.relaxed import Mixture
    from ddpnas.relaxed.relaxations import RELAXATIONS
    from ddpnas.relaxed.steps import MixtureStep
    from ddpnas.training.device import place

    supernet = place(space.supernet(), torch.device("cpu")).train()
    mixture = Mixture(space.decisions, RELAXATIONS[relaxation])
    weights = torch.optim.SGD(supernet.parameters(), lr=1e-3, momentum=0.9, weight_decay=3e-4)
    logits = torch.optim.Adam(mixture.parameters(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    both = MixtureStep(supernet, mixture, weights, logits, clip=5.0)
    numbers = itertools.count()
    return lambda cell: both(batch, batch, temperature=1.0, seed=next(numbers))


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="of the environment with NNI")
    parser.add_argument("--method", default="random", choices=list(METHODS))
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5, help="a stage")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="of each in a round")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    if options.python is None:
        parser.error("--python: NNI needs an environment of its own, see --help")
    sizes = ["method", "channels", "cells", "batch", "threads"]
    same = [word for size in sizes for word in (f"--{size}", str(getattr(options, size)))]
    nni = [options.python, str(Path(__file__).with_name("nni_worker.py")), *same]
    workers = {
        "ddpnas": Worker([options.python, "-m", "benchmarks.against_nni", "--worker", *same]),
        "nni": Worker(nni),
        "nni, channels-last": Worker([*nni, "--channels-last"]),
    }
    rng = np.random.default_rng(0)
    for round_ in range(options.rounds + 1):
        drawn = rng.choice(list(OPERATIONS), (options.steps, len(EDGES))).tolist()
        cells = [dict(zip(EDGES, cell, strict=True)) for cell in drawn]
        for worker in workers.values():
            seconds = worker.steps(cells)
            if round_ > 0:  # the first warms up
                worker.seconds += seconds
    ours = statistics.median(workers["ddpnas"].seconds)
    all_ours = sum(workers["ddpnas"].seconds)
    rows = {}
    for name, worker in workers.items():
        ordered = sorted(worker.seconds)
        median = statistics.median(ordered)
        rows[name] = {
            "step_s_median": median,
            "step_s_quartiles": [ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]],
            "times_ddpnas": median / ours,
            "all_steps_times_ddpnas": sum(ordered) / all_ours,
            "memory_mb": worker.memory_mb,
            "steps": len(ordered),
            "versions": worker.versions,
        }
        print(
            f"{name:20} {1e3 * median:7.1f} ms a step, {median / ours:5.2f} times ddpnas "
            f"(all steps: {sum(ordered) / all_ours:5.2f}), memory {worker.memory_mb:,.0f} MB"
        )
    if options.out is not None:
        about = {
            "command": f"python -m benchmarks.against_nni --rounds {options.rounds} "
            f"--steps {options.steps} {' '.join(same)}",
        }
        write_record(options.out, {**about, "rows": rows})


if __name__ == "__main__":
    main()
