"""How long exact generation takes where the widths of a whole network are open.

Two networks: ResNet-50 with every inner width and every stream open (37 decisions), and a chain of
24 layers in which each sees the outputs of all before it, as in a DenseNet. Claim: the best of all
networks within a share of the multiply-adds, with and without a second limit on parameters, gap 0.
Processor seconds stand beside wall seconds, because other jobs may share the cores.

    python -m benchmarks.width_solver --out records/speed/width-solver.json
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ddpnas
from benchmarks.record import write_record
from ddpnas.space import Choose, SearchSpace


def values(most: int, count: int) -> list[int]:
    """Return ``count`` widths in equal steps up to ``most``."""
    return [most * (i + 1) // count for i in range(count)]


class Bottleneck(nn.Module):
    """The residual block of ResNet-50; no other block shares its inner widths."""

    def __init__(self, choose: Choose, name: str, given: int, out: int, stride: int, count: int):
        super().__init__()
        planes = 64 * 2 ** (int(name[1]) - 1)
        first = choose.width(f"{name}.a", values(planes, count))
        second = choose.width(f"{name}.b", values(planes, count))
        self.inner = nn.Sequential(
            nn.Conv2d(given, first, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(),
            nn.Conv2d(first, second, 3, stride, 1, bias=False), nn.BatchNorm2d(second), nn.ReLU(),
            nn.Conv2d(second, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if int(name[-1]) == 0:
            self.skip = nn.Sequential(
                nn.Conv2d(given, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both branches."""
        return torch.relu(self.inner(x) + self.skip(x))


def resnet50(choose: Choose, count: int = 8) -> nn.Module:
    """Return ResNet-50 for 224 x 224 pixels, all its widths open."""
    width = choose.width("stem", values(64, count))
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    for stage, depth in enumerate((3, 4, 6, 3)):
        out = choose.width(f"s{stage + 1}", values(256 * 2**stage, count))
        for block in range(depth):
            stride = 2 if block == 0 and stage > 0 else 1
            name = f"s{stage + 1}.{block}"
            layers.append(Bottleneck(choose, name, width, out, stride, count))
            width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000))


class Dense(nn.Module):
    """A chain in which each layer sees the outputs of all before it."""

    def __init__(self, choose: Choose, depth: int = 24, count: int = 8):
        super().__init__()
        seen: Any = 16
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layers = nn.ModuleList()
        for i in range(depth):
            width = choose.width(f"layer{i}", values(32, count))
            self.layers.append(nn.Conv2d(seen, width, 3, padding=1))
            seen = seen + width
        self.head = nn.Linear(seen, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], dim=1)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


CASES: dict[str, Callable[[], SearchSpace]] = {
    "resnet50 x 8": lambda: SearchSpace(resnet50, (3, 224, 224), count=8),
    "resnet50 x 16": lambda: SearchSpace(resnet50, (3, 224, 224), count=16),
    "dense 24 x 8": lambda: SearchSpace(Dense, (3, 32, 32), count=8),
}
SHARES = (0.25, 0.5, 0.75)


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Return the seconds of every problem of a network."""
    space = CASES[name]()
    costs = ddpnas.count_costs(space)
    largest = space.decode([len(d.options) - 1 for d in space.decisions])
    rng = np.random.default_rng(0)
    # The worth of a network: a sum over decisions that rises with the width.
    worth = {
        (d.name, option): value
        for d in space.decisions
        for option, value in zip(d.options, np.sort(rng.random(len(d.options))), strict=True)
    }
    uniform = ddpnas.JointDistribution.uniform(space.decisions)
    rows = []
    for share, second in itertools.product(SHARES, (False, True)):
        limits = {"macs": share * costs["macs"].cost(largest)}
        if second:
            limits["params"] = 0.5 * costs["params"].cost(largest)
        seconds, processor = [], []
        for _ in range(rounds):
            started = time.perf_counter(), time.process_time()
            found = ddpnas.generate(uniform, space, limits, costs, objective=worth)
            seconds.append(time.perf_counter() - started[0])
            processor.append(time.process_time() - started[1])
        rows.append(
            {
                "network": name,
                "share_of_macs": share,
                "share_of_params": 0.5 if second else None,
                "processor_seconds_median": statistics.median(processor),
                "processor_seconds": processor,
                "seconds_median": statistics.median(seconds),
                "seconds": seconds,
                "gap": found.certificate.gap,
            }
        )
        print({k: v for k, v in rows[-1].items() if not isinstance(v, list)}, flush=True)
    return rows


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [row for name in arguments.networks for row in measure(name, arguments.rounds)]
    if arguments.out is not None:
        command = f"python -m benchmarks.width_solver --rounds {arguments.rounds}"
        write_record(arguments.out, {"command": command, "rows": rows})


if __name__ == "__main__":
    main()
