"""What a training step on a path of a supernet costs, against the sampled network alone.

Claim: the ratio of medians is at most 1.05 on a CPU. The network alone has the same layers with
the same BatchNorm (batch statistics, no affine terms) and no trace of the supernet; both take the
same batch, optimizer and memory format, step by step in turn in one process, so that a machine
whose speed drifts gives the same ratio. Setting a path, once an epoch, is reported beside it.
On CUDA a step is recorded and replayed, as a search does it: ``--batches`` of an epoch share the
recording; ``--launched`` launches each kernel of each step instead.

    python -m benchmarks.step --out records/speed/step.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import ddpnas
from benchmarks.record import write_record
from ddpnas.evaluators import SupernetConfig
from ddpnas.evaluators.shared_weights import make_sgd
from ddpnas.evaluators.slice_updates import SliceUpdates
from ddpnas.space.choose import BuildChoice
from ddpnas.space.slices import fix_widths
from ddpnas.training.cuda_graphs import Captures
from ddpnas.training.device import pick_device, place
from ddpnas.training.steps import TrainStep, train_epoch

# Space, its options, images a step: the sizes that are searched in the literature.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "nasbench201": ({"channels": 16, "cells_per_stage": 5}, 64),
    "darts": ({"channels": 16, "cells": 8}, 64),
    "mobilenet-v2": ({"input_shape": (3, 112, 112)}, 16),
    "edge": ({"input_shape": (1, 28, 28), "limits": {"macs": "2M"}}, 128),
}


class BuildWhileSearching(BuildChoice):
    """Makes the sampled network alone, in the form that it has inside the supernet."""

    searching = True


def halved(space: ddpnas.SearchSpace, architecture: Mapping[str, str]) -> ddpnas.Architecture:
    """Return the architecture with every width at about half of the largest."""
    half = {
        d.name: min(d.options, key=lambda option: abs(int(option) - int(d.options[-1]) / 2))
        for d in space.decisions
        if d.ordered
    }
    return space.check({**architecture, **half})


def optimizer_of(
    parameters: list[nn.Parameter], device: torch.device | None = None
) -> torch.optim.SGD:
    """Return the optimizer of a search with its default settings, on the CPU by default."""
    return make_sgd(parameters, SupernetConfig(lr=1e-3), device or torch.device("cpu"))


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, to its end on the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    started = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - started


def measure(
    name: str, paths: int, steps: int, device: torch.device, batches: int, captures: Captures
) -> dict[str, Any]:
    """Return the times of one space over random paths."""
    options, batch_size = CASES[name]
    space = ddpnas.create_space(name, **options)
    supernet = place(space.supernet(), device).train()
    optimizer = optimizer_of(list(supernet.parameters()), device)
    updates = SliceUpdates(supernet, optimizer)
    inputs = torch.randn(batch_size, *space.input_shape, device=device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=device) % space.output_shape[0]
    epoch, clip = [(inputs, labels)] * batches, SupernetConfig().clip
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(paths):
        architecture = halved(space, space.sample(rng))
        started = time.perf_counter()
        supernet.set_path(architecture)
        path = supernet.path_parameters()
        setting = time.perf_counter() - started
        updates.begin(path)
        alone = space.network(BuildWhileSearching(architecture), **space.options)
        fix_widths(alone)
        alone = place(alone, device).train()
        own = list(alone.parameters())
        own_optimizer = optimizer_of(own, device)

        def on_path(path: list[nn.Parameter] = path) -> object:
            return train_epoch(captures.step(TrainStep(supernet, optimizer, path, clip)), epoch)

        def by_itself(
            alone: nn.Module = alone,
            own: list[nn.Parameter] = own,
            own_optimizer: torch.optim.SGD = own_optimizer,
        ) -> object:
            return train_epoch(captures.step(TrainStep(alone, own_optimizer, own, clip)), epoch)

        on_path(), by_itself()
        pairs = [(timed(on_path, device), timed(by_itself, device)) for _ in range(steps)]
        updates.end()
        rows.append(
            {
                "path_s": statistics.median(ours for ours, _ in pairs) / batches,
                "alone_s": statistics.median(plain for _, plain in pairs) / batches,
                "set_path_s": setting,
            }
        )
    ratios = sorted(row["path_s"] / row["alone_s"] for row in rows)
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return {
        "space": name,
        "options": options,
        "batch_size": batch_size,
        "paths": paths,
        "epochs_a_path": steps,
        "batches_an_epoch": batches,
        "recorded": captures.recording,
        **medians,
        "ratio_of_medians": medians["path_s"] / medians["alone_s"],
        "ratio_median": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]],
        "rows": rows,
    }


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default=",".join(CASES))
    parser.add_argument("--paths", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="epochs timed of each path")
    parser.add_argument("--batches", type=int, default=1, help="of an epoch")
    parser.add_argument("--launched", action="store_true", help="record no step on CUDA")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    torch.manual_seed(0)
    cases = []
    print(f"{'space':14} {'path':>9} {'alone':>9} {'ratio':>7}   quartiles     set path")
    for name in options.spaces.split(","):
        captures = Captures(None) if options.launched else Captures.on(device)
        case = measure(name, options.paths, options.steps, device, options.batches, captures)
        cases.append(case)
        low, high = case["ratio_quartiles"]
        print(
            f"{name:14} {1e3 * case['path_s']:6.1f} ms {1e3 * case['alone_s']:6.1f} ms "
            f"{case['ratio_of_medians']:7.3f}   {low:.3f}-{high:.3f}  "
            f"{1e3 * case['set_path_s']:6.1f} ms",
            flush=True,
        )
    if options.out is not None:
        about = {
            "command": f"python -m benchmarks.step --paths {options.paths} "
            f"--steps {options.steps} --batches {options.batches} --threads {options.threads} "
            f"--device {options.device}{' --launched' * options.launched}",
        }
        write_record(options.out, {**about, "cases": cases}, device)


if __name__ == "__main__":
    main()
