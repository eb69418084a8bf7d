"""A step of a search for a width with ``widths prunode``: do more values take longer?

Claim: no, for it runs two of them, whatever their number. Epochs over 4 and over 64 values of a
layer take turns in one process; the ratio is that of neighbors.

    python -m benchmarks.prunode_step --out records/speed/prunode-step.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import ddpnas
from benchmarks.record import write_record
from ddpnas.relaxed import MixtureEvaluator
from ddpnas.strategies.darts import DARTS

FEW, MANY = (256, 512, 768, 1024), tuple(range(16, 1025, 16))
IMAGES, BATCH = 4000, 24


def evaluator_of(values: tuple[int, ...]) -> MixtureEvaluator:
    """Return what trains a mixture of the widths of a layer on random inputs."""

    def network(choose: Any) -> nn.Module:
        width = choose.width("hidden", values)
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(IMAGES, 8, generator=generator)
    data = ddpnas.make_data((inputs, torch.arange(IMAGES) % 2))
    space = ddpnas.SearchSpace(network, (8,))
    strategy = DARTS(space, epochs=1000, batch_size=BATCH, widths="prunode")
    return MixtureEvaluator(space, data, strategy, device="cpu")


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    few, many = evaluator_of(FEW), evaluator_of(MANY)
    seconds: list[tuple[float, float]] = []
    for _ in range(options.rounds + 1):
        begun = time.process_time()
        few._train_epoch()
        between = time.process_time()
        many._train_epoch()
        seconds.append((between - begun, time.process_time() - between))
    low, middle, high = statistics.quantiles((b / a for a, b in seconds[1:]), n=4)
    print(f"64 values take {middle:.3f} times as long as 4 (quartiles {low:.3f} to {high:.3f})")
    if options.out is not None:
        record = {
            "command": f"python -m benchmarks.prunode_step --rounds {options.rounds}",
            "ratio": middle,
            "quartiles": [low, high],
            "epochs_s": seconds[1:],  # the first one warms up
        }
        write_record(options.out, record)


if __name__ == "__main__":
    main()
