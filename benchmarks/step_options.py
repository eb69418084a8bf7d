"""What the options of a search step are worth on this machine, each against the default step.

The default: float32, channels-last, SGD's loop over all tensors at once (foreach), nothing
compiled. Against it, step by step in turn in one process, on the same paths and batch: bfloat16
(``--supernet.mixed-precision bf16``), compiled options (``--supernet.compile inductor``; its
seconds of compiling are reported apart), the default memory layout, and SGD's other two ways.

    python -m benchmarks.step_options --out records/step-options.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import ddpnas
from benchmarks.record import write_record
from benchmarks.step import CASES, timed
from ddpnas.choice import Supernet
from ddpnas.evaluators import SupernetConfig
from ddpnas.evaluators.compiled import compile_options
from ddpnas.training.epoch import pick_device, place, train_epoch

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "bf16": {"precision": "bf16"},
    "compiled": {"compile": "inductor"},
    "contiguous": {"layout": torch.contiguous_format},
    "fused SGD": {"sgd": {"fused": True}},
    "SGD tensor by tensor": {"sgd": {"foreach": False}},
}


def step_of(
    space: ddpnas.SearchSpace,
    batch_size: int,
    device: torch.device,
    *,
    precision: str = "no",
    compile: str | None = None,
    layout: torch.memory_format = torch.channels_last,
    sgd: dict[str, bool] | None = None,
) -> Callable[[ddpnas.Architecture], Callable[[], object]]:
    """Return what makes, of a path, its training step."""
    torch.manual_seed(0)
    supernet: Supernet = space.supernet()
    place(supernet, device)
    if layout is torch.contiguous_format:
        supernet.to(memory_format=layout)
    if compile is not None:
        compile_options(supernet, compile)
    supernet.train()
    config = SupernetConfig()
    optimizer = torch.optim.SGD(
        supernet.parameters(), lr=1e-3, momentum=config.momentum,
        weight_decay=config.weight_decay, **(sgd or {"foreach": True}),
    )  # fmt: skip
    inputs = torch.randn(batch_size, *space.input_shape, device=device).contiguous(
        memory_format=layout
    )
    labels = torch.arange(batch_size, device=device) % space.output_shape[0]

    def of(path: ddpnas.Architecture) -> Callable[[], object]:
        def step() -> object:
            supernet.set_path(path)
            parameters: list[nn.Parameter] = supernet.path_parameters()
            optimizer.param_groups[0]["params"] = parameters
            return train_epoch(
                supernet, [(inputs, labels)], optimizer, parameters, clip=config.clip,
                precision=precision,
            )  # fmt: skip

        return step

    return of


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default="nasbench201,mobilenet-v2")
    parser.add_argument("--paths", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    cases = []
    for name in options.spaces.split(","):
        space_options, batch_size = CASES[name]
        space = ddpnas.create_space(name, **space_options)
        makers = {v: step_of(space, batch_size, device, **given) for v, given in VARIANTS.items()}
        rng = np.random.default_rng(0)
        first: dict[str, float] = dict.fromkeys(VARIANTS, 0.0)
        seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.paths):
            path = space.sample(rng)
            steps = {variant: makers[variant](path) for variant in VARIANTS}
            for variant, step in steps.items():
                started = time.perf_counter()
                step(), step()
                first[variant] += time.perf_counter() - started
            rounds = [
                {variant: timed(step, device) for variant, step in steps.items()}
                for _ in range(options.steps)
            ]
            for variant, of in seconds.items():
                of.append(statistics.median(r[variant] for r in rounds))
        for variant, of in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(of, seconds["default"], strict=True))
            cases.append(
                {
                    "space": name,
                    "variant": variant,
                    "step_s": statistics.median(of),
                    "ratio_to_default": ratio,
                    "first_steps_s": first[variant],
                }
            )
            print(
                f"{name:14} {variant:22} {1e3 * statistics.median(of):8.1f} ms, {ratio:6.3f} times "
                f"the default; first two steps of all paths {first[variant]:.1f} s",
                flush=True,
            )
    if options.out is not None:
        record = {
            "command": f"python -m benchmarks.step_options --spaces {options.spaces} "
            f"--paths {options.paths} --steps {options.steps} --threads {options.threads}",
            "cases": cases,
        }
        write_record(options.out, record, device)


if __name__ == "__main__":
    main()
