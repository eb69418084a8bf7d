"""How a search grows with options, decisions, images and processes, in time and in memory.

Claims: the time of a step does not depend on the number of options a decision; memory beyond the
weights and their optimizer state does not either; an image costs the same however many there are.
Each size is measured in a process of its own (memory is the largest that the process reached, less
what it had before the space was made) on a chain of equal 3x3 convolutions, so that every path
costs the same. Processes are started by torchrun, with one thread each and the same batch of all
together; more processes than cores cannot be faster.

With ``--darts``: the DARTS space at 16 channels and 8 cells, batch 64. The memory of a search over
random paths, the largest among them, against that of the largest path trained alone; claim: at
most 1.1 times, beyond the weights and optimizer state of the options that are not on the path.

    python -m benchmarks.scaling --out records/speed/scaling.json --plot records/speed/scaling.svg
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import ddpnas
from benchmarks.record import write_record
from benchmarks.step import BuildWhileSearching, optimizer_of
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator
from ddpnas.training.device import place
from ddpnas.training.distributed import join, leave
from ddpnas.training.steps import TrainStep, train_epoch

OPTIONS = (2, 4, 8, 16, 32)  # a decision, of 16
DECISIONS = (4, 8, 16, 32, 64)  # with 4 options each
IMAGES = (1_000, 2_000, 4_000, 8_000, 16_000)  # of 4 decisions with 4 options
PROCESSES = (1, 2, 4)  # of 16 decisions with 4 options


ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def chain(choose: Any, decisions: int = 16, options: int = 4) -> nn.Module:
    """Return a chain of convolutions, each one of ``options`` equal ones."""

    def conv() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16, track_running_stats=not choose.searching),
            nn.ReLU(),
        )

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        *(
            choose(f"block{i}", {f"conv{k}": conv for k in range(options)})
            for i in range(decisions)
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def memory_mb() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def steps(
    model: nn.Module, paths: list[Any], batch_size: int, each: int
) -> tuple[list[float], float]:
    """Train on each path in turn; return the seconds of each step, and the weights' megabytes."""
    optimizer = optimizer_of(list(model.parameters()))
    inputs = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    batch = [(inputs, torch.arange(batch_size) % 10)]
    model.train()
    seconds = []
    for path in paths:
        parameters = list(model.parameters())
        if isinstance(model, ddpnas.space.Supernet):
            model.set_path(path)
            parameters = model.path_parameters()
        optimizer.param_groups[0]["params"] = parameters
        for _ in range(each):
            started = time.perf_counter()
            train_epoch(TrainStep(model, optimizer, parameters, clip=5.0), batch)
            seconds.append(time.perf_counter() - started)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return seconds[each:], weights / 2**20  # the first path warms up


def one_size(decisions: int, options: int) -> dict[str, float]:
    """Return time and memory of one size of the chain."""
    before = memory_mb()
    space = ddpnas.SearchSpace(chain, (3, 32, 32), decisions=decisions, options=options)
    supernet = place(space.supernet(), torch.device("cpu"))
    rng = np.random.default_rng(0)
    seconds, weights = steps(supernet, [space.sample(rng) for _ in range(7)], 64, 3)
    strategy = ddpnas.create_strategy("ddpnas-paper", space)
    started = time.perf_counter()
    cycle = strategy.ask()
    strategy.tell(cycle, [0.5] * len(cycle))
    algorithm = (time.perf_counter() - started) / len(cycle)
    return {
        "decisions": decisions,
        "options": options,
        "step_s": statistics.median(seconds),
        "memory_mb": memory_mb() - before,
        "weights_mb": weights,
        "algorithm_s_an_evaluation": algorithm,
    }


def images(count: int) -> dict[str, float]:
    """Return time and memory of an epoch and a validation of so many images, and a fifth."""
    before = memory_mb()
    space = ddpnas.SearchSpace(chain, (3, 32, 32), decisions=4)
    pixels = torch.randint(256, (count * 6 // 5, 3, 32, 32), dtype=torch.uint8)
    data = ddpnas.make_data((pixels, torch.arange(len(pixels)) % 10), valid_fraction=1 / 6)
    config = SupernetConfig(training="path", batch_size=64)
    evaluator = SupernetEvaluator(space, data, 3, config, device="cpu")
    rng = np.random.default_rng(0)
    found = list(evaluator.evaluate([space.sample(rng) for _ in range(3)]))[1:]
    return {
        "images": len(data.train),
        "epoch_s": statistics.median(e.details["train_seconds"] for e in found),
        "validation_s": statistics.median(e.details["valid_seconds"] for e in found),
        "memory_mb": memory_mb() - before,
        "images_mb": pixels.numel() / 2**20,
    }


def together(steps_of_all: int) -> None:
    """Print, in the first of the processes that torchrun started, the time of their step."""
    torch.set_num_threads(1)
    processes = join("cpu")
    space = ddpnas.SearchSpace(chain, (3, 32, 32))
    images = torch.randint(
        256, (64 * steps_of_all, 3, 32, 32), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    data = ddpnas.make_data((images, torch.arange(len(images)) % 10), valid_fraction=0.1)
    config = SupernetConfig(training="path", batch_size=64)
    evaluator = SupernetEvaluator(space, data, 4, config, processes=processes, device="cpu")
    rng = np.random.default_rng(0)
    found = list(evaluator.evaluate([space.sample(rng) for _ in range(4)]))[1:]
    seconds = statistics.median(
        e.details["train_seconds"] * 64 / e.details["train_images"] for e in found
    )
    if processes.first:
        print(json.dumps({"processes": processes.size, "step_s": seconds}), flush=True)
    leave()


def by_torchrun(processes: int) -> dict[str, float]:
    """Return what :func:`together` prints of so many processes."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += ["--nproc-per-node", str(processes), "-m", "benchmarks.scaling", "--one", "together"]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ONE_THREAD}
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def darts(kind: str) -> dict[str, float]:
    """Return the memory of the DARTS space: of a "search", or of the largest path "alone"."""
    space = ddpnas.create_space("darts", channels=16, cells=8)
    rng = np.random.default_rng(0)
    paths = [{d.name: str(rng.choice(d.options)) for d in space.decisions} for _ in range(7)]
    largest = {d.name: "sep_conv_5x5" for d in space.decisions}
    before = memory_mb()
    if kind == "alone":
        model = space.network(BuildWhileSearching(largest), **space.options)
        paths = []
    else:
        model = space.supernet()
    model = place(model, torch.device("cpu"))
    _, weights = steps(model, [*paths, largest], 64, 2)
    return {"memory_mb": memory_mb() - before, "weights_mb": weights}


def alone(function: str, *arguments: object) -> dict[str, float]:
    """Return what a function of this file measures in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.scaling", "--one", function, *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def plot(path: Path, rows_of: dict[str, list[dict[str, float]]]) -> None:
    """Draw time and memory over options, decisions, images and processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, 4)
    for column, (name, rows) in enumerate(rows_of.items()):
        sizes = [row[name] for row in rows]
        time_of, label = ("epoch_s", "an epoch, s") if name == "images" else ("step_s", "a step, s")
        axes[0][column].plot(sizes, [row[time_of] for row in rows], "o-")
        axes[0][column].set_ylabel(label)
        if "memory_mb" in rows[0]:
            axes[1][column].plot(sizes, [row["memory_mb"] for row in rows], "o-", label="all")
            axes[1][column].set_ylabel("memory, MB")
        if "weights_mb" in rows[0]:
            weights = [3 * row["weights_mb"] for row in rows]
            axes[1][column].plot(sizes, weights, "s--", label="weights, optimizer")
        if "images_mb" in rows[0]:
            images = [row["images_mb"] for row in rows]
            axes[1][column].plot(sizes, images, "s--", label="images")
        for row in axes:
            row[column].set_xlabel(f"{name}{' a decision' if name == 'options' else ''}")
            row[column].set_ylim(bottom=0)
            row[column].grid(alpha=0.3)
        if axes[1][column].lines:
            axes[1][column].legend()
        else:
            axes[1][column].set_axis_off()
    figure.savefig(path)


def main() -> None:
    """Measure, print tables, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--darts", action="store_true", help="the memory of DARTS as well")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.one:
        function, *arguments = options.one
        if function == "together":
            together(20)
        elif function == "darts":
            print(json.dumps(darts(*arguments)))
        elif function == "images":
            print(json.dumps(images(*map(int, arguments))))
        else:
            print(json.dumps(one_size(*map(int, arguments))))
        return
    by_options = [alone("size", 16, count) for count in OPTIONS]
    by_decisions = [alone("size", count, 4) for count in DECISIONS]
    print("decisions  options      step    memory   weights   ask and tell an evaluation")
    for row in by_options + by_decisions:
        print(
            f"{row['decisions']:9.0f} {row['options']:8.0f} {1e3 * row['step_s']:6.1f} ms "
            f"{row['memory_mb']:6.0f} MB {row['weights_mb']:6.1f} MB "
            f"{1e3 * row['algorithm_s_an_evaluation']:8.2f} ms"
        )
    by_images = [alone("images", count) for count in IMAGES]
    print("images      epoch  validation    memory    images")
    for row in by_images:
        print(
            f"{row['images']:6.0f} {row['epoch_s']:8.2f} s {row['validation_s']:8.2f} s "
            f"{row['memory_mb']:6.0f} MB {row['images_mb']:6.0f} MB"
        )
    by_processes = [by_torchrun(count) for count in PROCESSES]
    for row in by_processes:
        print(f"{row['processes']:.0f} processes: {1e3 * row['step_s']:.1f} ms a step")
    result: dict[str, Any] = {
        "command": "python -m benchmarks.scaling" + (" --darts" if options.darts else ""),
        "threads": options.threads,
        "by_options": by_options,
        "by_decisions": by_decisions,
        "by_images": by_images,
        "by_processes": by_processes,
    }
    if options.darts:
        searched, largest = alone("darts", "search"), alone("darts", "alone")
        # weights, momentum; gradients live on the path alone
        unused = 2 * (searched["weights_mb"] - largest["weights_mb"])
        ratio = (searched["memory_mb"] - unused) / largest["memory_mb"]
        result["darts"] = {"search": searched, "largest_path": largest, "ratio": ratio}
        print(
            f"darts: search {searched['memory_mb']:,.0f} MB, of which {unused:,.0f} MB are weights "
            f"and momentum beside the path; largest path alone {largest['memory_mb']:,.0f} MB; "
            f"ratio {ratio:.3f}"
        )
    every = (by_options, by_decisions, by_images, by_processes)
    if options.out is not None:
        write_record(options.out, result)
    if options.plot is not None:
        names = ("options", "decisions", "images", "processes")
        plot(options.plot, dict(zip(names, every, strict=True)))


if __name__ == "__main__":
    main()
