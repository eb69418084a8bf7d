"""What scoring the architectures of a stage together saves, against scoring them one by one.

All have the same weights. *Together*: what paths have in common at their beginning is computed once
(same scores, bit for bit, which is checked). The weights are trained a little first, on random
images whose labels can be learned, because untrained paths are all equally good.

    python -m benchmarks.validation --out records/speed/validation.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ddpnas
from benchmarks.record import write_record
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator
from ddpnas.space.distribution import JointDistribution

# Space, its options, images, side of an image.
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "nasbench201": ({"channels": 8, "cells_per_stage": 1}, 2000, 16),
    "nasbench-macro": ({"width": 0.25}, 1000, 32),
    "mobilenet-v2": ({}, 200, 64),
    "darts": ({"channels": 8, "cells": 5}, 200, 16),
}


def measure(name: str, cycles: int, device: str) -> dict[str, object]:
    """Return the seconds of both ways for this number of fair cycles."""
    space_options, count, side = CASES[name]
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2 * count) % 10
    shade = 25 * labels.view(-1, 1, 1, 1)
    pixels = torch.randint(0, 60, (2 * count, 3, side, side), generator=generator) + shade // 2
    data = ddpnas.make_data((pixels.to(torch.uint8), labels), valid_fraction=0.5)
    space = ddpnas.create_space(name, **space_options, input_shape=data.input_shape, num_classes=10)
    config = SupernetConfig(
        warmup_epochs=4, proxy_weight=0, score="accuracy", batch_size=32, lr=0.05
    )
    evaluator = SupernetEvaluator(space, data, 1, config, device=device)
    uniform, rng = JointDistribution.uniform(space.decisions), np.random.default_rng(0)
    paths = [path for _ in range(cycles) for path in uniform.fair_cycle(rng)]
    for _ in evaluator.prepare(paths):
        pass
    evaluator.rescore(paths[:1])
    evaluator.rescore(paths[:2])
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    alone = [evaluator.rescore([path])[0].score for path in paths]
    one_by_one = clock() - started
    started = clock()
    together = [evaluation.score for evaluation in evaluator.rescore(paths)]
    at_once = clock() - started
    assert alone == together
    return {
        "space": name,
        "options": space_options,
        "architectures": len(paths),
        "images": count,
        "one_by_one_s": one_by_one,
        "together_ratio": at_once / one_by_one,
        "accuracy_from_to": [min(alone), max(alone)],
    }


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default=",".join(CASES))
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = []
    for name in options.spaces.split(","):
        case = measure(name, options.cycles, options.device)
        cases.append(case)
        print(
            f"{name:14} {case['architectures']} architectures one by one "
            f"{case['one_by_one_s']:.1f} s; together {case['together_ratio']:.3f} of it",
            flush=True,
        )
    if options.out is not None:
        record = {
            "command": f"python -m benchmarks.validation --cycles {options.cycles} "
            f"--threads {options.threads} --device {options.device}",
            "cases": cases,
        }
        write_record(options.out, record, options.device)


if __name__ == "__main__":
    main()
