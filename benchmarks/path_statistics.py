"""Claim: paths with ordinary BatchNorm are scored by their own statistics, not by mixed averages.

One supernet with ``nn.BatchNorm2d`` is trained fairly on 1,500 images of Fashion-MNIST, a fifth of
them for validation. The same weights score 25 random paths twice: with the running averages that
torch would have kept, and as ddpnas scores them.

    python -m benchmarks.path_statistics --out records/weight-sharing/batch-norm.json
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from torch import nn

import ddpnas
from benchmarks.record import write_record
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator


def network(choose: Any, num_classes: int = 10) -> nn.Module:
    """Return a network of four undecided layers, each with an ordinary BatchNorm."""

    def conv(kernel: int, groups: int) -> Any:
        return lambda: nn.Sequential(
            nn.Conv2d(16, 16, kernel, padding=kernel // 2, groups=groups),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )

    options = {"conv3": conv(3, 1), "conv5": conv(5, 1), "depth3": conv(3, 16), "skip": nn.Identity}
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(choose(f"layer{i}", options) for i in range(4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=1500)
    space = ddpnas.SearchSpace(network, data.input_shape)
    rng = np.random.default_rng(0)
    paths = list(dict.fromkeys(space.sample(rng) for _ in range(40)))[:25]
    config = SupernetConfig(warmup_epochs=given.epochs, proxy_weight=0, score="accuracy")
    evaluator = SupernetEvaluator(space, data, 25, config, device="cpu")
    own = evaluator.supernet._statistics
    as_torch: Any = lambda training: contextlib.nullcontext()  # noqa: E731
    evaluator.supernet._statistics = as_torch
    for _ in evaluator.prepare(paths):
        pass
    scores: dict[str, list[float]] = {}
    for name, statistics in (("running averages", as_torch), ("own statistics", own)):
        evaluator.supernet._statistics = statistics
        scores[name] = [found.score for found in evaluator.rescore(paths)]
        low, middle, high = np.quantile(scores[name], [0, 0.5, 1])
        print(f"{name:16}  {low:.2f} / {middle:.2f} / {high:.2f} (min, median, max)")
    tau = float(kendalltau(*scores.values()).statistic)
    print(f"tau between the two: {tau:.2f}")
    if given.out is not None:
        write_record(given.out, {"epochs": given.epochs, "tau": tau, "scores": scores})


if __name__ == "__main__":
    main()
