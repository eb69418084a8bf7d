"""Which training of shared weights ranks networks of the space edge better: fair or sandwich.

Networks within half and the whole of a limit are trained alone; their test accuracy is the truth.
Supernets are trained for equal processor seconds in both ways and score the same networks. Tau is
Kendall's, over all networks; that of multiply-adds and of untrained scores stands beside it.

    python -m benchmarks.width_training --out records/weight-sharing/widths.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import ddpnas
from benchmarks.record import write_record
from ddpnas.evaluators import SupernetConfig
from ddpnas.evaluators.proxies import ProxyScores
from ddpnas.evaluators.supernet import SupernetEvaluator

TRAININGS = ("fair", "sandwich")
LIMIT = 2e6


def networks(space: ddpnas.SearchSpace, number: int) -> list[ddpnas.Architecture]:
    """Return random networks that cost between half and the whole of the limit."""
    table = ddpnas.count_costs(space)["macs"]
    rng = np.random.default_rng(0)
    found: dict[ddpnas.Architecture, None] = {}
    while len(found) < number:
        architecture = space.canonical(space.sample(rng))
        if LIMIT / 2 <= table.cost(architecture) <= LIMIT:
            found[architecture] = None
    return list(found)


def untrained(
    space: ddpnas.SearchSpace, data: ddpnas.Data, chosen: list[ddpnas.Architecture]
) -> dict[str, list[float]]:
    """Return what is known of the networks without training: multiply-adds, NASWOT, synflow."""
    table, proxies = ddpnas.count_costs(space)["macs"], ProxyScores(space, data, seed=0)
    rows = [{"macs": table.cost(a), **proxies.measure(a)} for a in chosen]
    return {name: [row[name] for row in rows] for name in rows[0]}


def epoch_seconds(space: ddpnas.SearchSpace, data: ddpnas.Data, training: str) -> float:
    """Return the processor seconds of an epoch."""
    config = SupernetConfig(training=training, warmup_epochs=2, proxy_weight=0)  # type: ignore[arg-type]
    evaluator = SupernetEvaluator(space, data, 1, config, device="cpu")
    marks = [time.process_time()]
    for _ in evaluator.prepare([]):
        marks.append(time.process_time())
    return marks[2] - marks[1]


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist-12k")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10, help="of each network alone")
    parser.add_argument("--seconds", type=float, default=120, help="of each supernet, processor")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = ddpnas.load_data(options.data, limit_train_images=options.images)
    space = ddpnas.create_space(
        "edge", input_shape=data.input_shape, num_classes=len(data.classes), limits={"macs": LIMIT}
    )
    chosen = networks(space, options.networks)
    truth = []
    for architecture in chosen:
        trained = ddpnas.train(space.build(architecture), data, epochs=options.epochs, seed=0)
        truth.append(trained.evaluation.accuracy)
        print(f"alone {truth[-1]:.4f}", flush=True)
    tau_untrained = {
        name: float(stats.kendalltau(values, truth).statistic)
        for name, values in untrained(space, data, chosen).items()
    }
    print(tau_untrained, flush=True)
    rows: list[dict[str, Any]] = []
    for training in TRAININGS:
        epochs = max(1, round(options.seconds / epoch_seconds(space, data, training)))
        for seed in range(options.seeds):
            config = SupernetConfig(training=training, warmup_epochs=epochs, proxy_weight=0)  # type: ignore[arg-type]
            evaluator = SupernetEvaluator(space, data, 1, config, seed=seed, device="cpu")
            started = time.process_time()
            scores = [evaluation.score for evaluation in evaluator.evaluate(chosen)]
            rows.append(
                {
                    "training": training,
                    "seed": seed,
                    "epochs": epochs,
                    "processor_seconds": time.process_time() - started,
                    "tau": float(stats.kendalltau(scores, truth).statistic),
                }
            )
            print(rows[-1], flush=True)
    means = {t: statistics.mean(r["tau"] for r in rows if r["training"] == t) for t in TRAININGS}
    print(means)
    if options.out is not None:
        command = (
            f"python -m benchmarks.width_training --data {options.data} --images {options.images} "
            f"--networks {options.networks} --epochs {options.epochs} "
            f"--seconds {options.seconds:g} --seeds {options.seeds}"
        )
        record = {
            "command": command, "accuracy_alone": truth, "tau_untrained": tau_untrained,
            "rows": rows, "tau_mean": means,
        }  # fmt: skip
        write_record(options.out, record)


if __name__ == "__main__":
    main()
