"""What the options of a search step are worth on this machine, each against the default step.

The default: float32, channels-last, SGD over all tensors at once; on CUDA a step
recorded. Against it, in turn in one process, on the same paths and batch: bfloat16 (the option
``mixed_precision``), the default memory layout, SGD's other ways, and on CUDA steps that are not
recorded and convolutions chosen by trial.

    python -m benchmarks.step_options --out records/speed/step-options.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import ddpnas
from benchmarks.record import write_record
from benchmarks.step import CASES, optimizer_of, timed
from ddpnas.evaluators import SupernetConfig
from ddpnas.space.supernet import Supernet
from ddpnas.training.cuda_graphs import Captures
from ddpnas.training.device import pick_device, place
from ddpnas.training.steps import TrainStep, train_epoch

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "bf16": {"precision": "bf16"},
    "contiguous": {"layout": torch.contiguous_format},
    "SGD, fused": {"sgd": {"fused": True}},
    "SGD, tensor by tensor": {"sgd": {"foreach": False}},
}
ON_CUDA: dict[str, dict[str, Any]] = {
    "SGD, foreach": {"sgd": {"foreach": True}},
    "launched": {"recorded": False},
    "launched, bf16": {"recorded": False, "precision": "bf16"},
    "contiguous, bf16": {"layout": torch.contiguous_format, "precision": "bf16"},
    "tried convolutions": {"tried": True},
    "tried, bf16": {"tried": True, "precision": "bf16"},
}


def epoch_of(
    space: ddpnas.SearchSpace,
    batch_size: int,
    batches: int,
    device: torch.device,
    *,
    precision: str = "no",
    layout: torch.memory_format = torch.channels_last,
    sgd: dict[str, bool] | None = None,
    recorded: bool = True,
    tried: bool = False,
) -> Callable[[ddpnas.Architecture], Callable[[], object]]:
    """Return what makes, of a path, an epoch of its training."""
    torch.manual_seed(0)
    supernet: Supernet = space.supernet()
    place(supernet, device)
    if layout is torch.contiguous_format:
        supernet.to(memory_format=layout)
    supernet.train()
    config = SupernetConfig()
    optimizer = optimizer_of(list(supernet.parameters()), device)
    if sgd is not None:
        optimizer = torch.optim.SGD(
            supernet.parameters(), lr=1e-3, momentum=config.momentum,
            weight_decay=config.weight_decay, **sgd,
        )  # fmt: skip
        for parameter in supernet.parameters():  # fused, it cannot begin with some of them
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    captures = Captures.on(device) if recorded else Captures(None)
    inputs = torch.randn(batch_size, *space.input_shape, device=device).contiguous(
        memory_format=layout
    )
    labels = torch.arange(batch_size, device=device) % space.output_shape[0]

    def of(path: ddpnas.Architecture) -> Callable[[], object]:
        def epoch() -> object:
            supernet.set_path(path)
            parameters: list[nn.Parameter] = supernet.path_parameters()
            optimizer.param_groups[0]["params"] = parameters
            with torch.backends.cudnn.flags(benchmark=tried):
                step = TrainStep(
                    supernet, optimizer, parameters, clip=config.clip, precision=precision
                )
                return train_epoch(captures.step(step), [(inputs, labels)] * batches)

        return epoch

    return of


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default="nasbench201,mobilenet-v2")
    parser.add_argument("--paths", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="epochs timed of each path")
    parser.add_argument("--batches", type=int, default=1, help="of an epoch")
    parser.add_argument("--batch-size", type=int, help="default: that of benchmarks.step")
    parser.add_argument("--variants", help="separated by semicolons; default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    cases = []
    known = {**VARIANTS, **(ON_CUDA if device.type == "cuda" else {})}
    names = ["default", *options.variants.split(";")] if options.variants else list(known)
    for name in options.spaces.split(","):
        space_options, batch_size = CASES[name]
        batch_size = options.batch_size or batch_size
        space = ddpnas.create_space(name, **space_options)
        makers = {
            v: epoch_of(space, batch_size, options.batches, device, **known[v]) for v in names
        }
        rng = np.random.default_rng(0)
        first: dict[str, float] = dict.fromkeys(names, 0.0)
        seconds: dict[str, list[float]] = {variant: [] for variant in names}
        for _ in range(options.paths):
            path = space.sample(rng)
            epochs = {variant: makers[variant](path) for variant in names}
            for variant, epoch in epochs.items():
                first[variant] += timed(epoch, device)
            rounds = [
                {
                    variant: timed(epoch, device) / options.batches
                    for variant, epoch in epochs.items()
                }
                for _ in range(options.steps)
            ]
            for variant, of in seconds.items():
                of.append(statistics.median(r[variant] for r in rounds))
        for variant, of in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(of, seconds["default"], strict=True))
            cases.append(
                {
                    "space": name,
                    "batch_size": batch_size,
                    "variant": variant,
                    "step_s": statistics.median(of),
                    "ratio_to_default": ratio,
                    "first_epochs_s": first[variant],
                }
            )
            print(
                f"{name:14} {variant:22} {1e3 * statistics.median(of):8.1f} ms, {ratio:6.3f} times "
                f"the default; first epochs of all paths {first[variant]:.1f} s",
                flush=True,
            )
    if options.out is not None:
        record = {
            "command": f"python -m benchmarks.step_options --spaces {options.spaces} "
            f"--paths {options.paths} --steps {options.steps} --batches {options.batches} "
            f"--threads {options.threads} --device {options.device}"
            f"{f' --batch-size {options.batch_size}' if options.batch_size else ''}"
            f"{f' --variants {options.variants!r}' if options.variants else ''}",
            "cases": cases,
        }
        write_record(options.out, record, device)


if __name__ == "__main__":
    main()
