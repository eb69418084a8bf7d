"""How a search step grows with the number of options and of decisions, in time and in memory.

Claims: the time of a step does not depend on the number of options a decision; memory beyond the
weights and their optimizer state does not either. Each size is measured in a process of its own
(memory is the largest that the process reached, less what it had before the space was made) on
a chain of equal 3x3 convolutions, so that every path costs the same.

With ``--darts``: the DARTS space at 16 channels and 8 cells, batch 64. The memory of a search over
random paths, the largest among them, against that of the largest path trained alone; claim: at
most 1.1 times, beyond the weights and optimizer state of the options that are not on the path.

    python -m benchmarks.scaling --out records/scaling.json --plot records/scaling.svg
"""

from __future__ import annotations

import argparse
import json
import platform
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
from ddpnas.training.epoch import place, train_epoch

from .step import FixedWhileSearching, optimizer_of

OPTIONS = (2, 4, 8, 16, 32)  # a decision, of 16
DECISIONS = (4, 8, 16, 32, 64)  # with 4 options each


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
        if isinstance(model, ddpnas.Supernet):
            model.set_path(path)
            parameters = model.path_parameters()
        optimizer.param_groups[0]["params"] = parameters
        for _ in range(each):
            started = time.perf_counter()
            train_epoch(model, batch, optimizer, parameters, clip=5.0)
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
    strategy = ddpnas.create_strategy("ddpnas", space, rule="paper")
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


def darts(kind: str) -> dict[str, float]:
    """Return the memory of the DARTS space: of a "search", or of the largest path "alone"."""
    space = ddpnas.create_space("darts", channels=16, cells=8)
    rng = np.random.default_rng(0)
    paths = [{d.name: str(rng.choice(d.options)) for d in space.decisions} for _ in range(7)]
    largest = {d.name: "sep_conv_5x5" for d in space.decisions}
    before = memory_mb()
    if kind == "alone":
        model = space.network(FixedWhileSearching(largest), **space.options)
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


def plot(
    path: Path, by_options: list[dict[str, float]], by_decisions: list[dict[str, float]]
) -> None:
    """Draw time and memory over options and decisions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    for column, (name, rows) in enumerate((("options", by_options), ("decisions", by_decisions))):
        sizes = [row[name] for row in rows]
        axes[0][column].plot(sizes, [1e3 * row["step_s"] for row in rows], "o-")
        axes[1][column].plot(sizes, [row["memory_mb"] for row in rows], "o-", label="all")
        axes[1][column].plot(
            sizes, [3 * row["weights_mb"] for row in rows], "s--", label="weights, optimizer"
        )
        axes[1][column].set_xlabel(f"{name}{' a decision' if name == 'options' else ''}")
        for row in axes:
            row[column].set_ylim(bottom=0)
            row[column].grid(alpha=0.3)
    axes[0][0].set_ylabel("a step, ms")
    axes[1][0].set_ylabel("memory, MB")
    axes[1][0].legend()
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
        result = darts(*arguments) if function == "darts" else one_size(*map(int, arguments))
        print(json.dumps(result))
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
    result: dict[str, Any] = {
        "command": "python -m benchmarks.scaling" + (" --darts" if options.darts else ""),
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "by_options": by_options,
        "by_decisions": by_decisions,
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
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    if options.plot is not None:
        plot(options.plot, by_options, by_decisions)


if __name__ == "__main__":
    main()
