"""Search with shared weights on real images, look up what was found, compare methods.

    python -m benchmarks.weight_sharing --data PATH --out runs/sharing --seeds 5 --seconds 1800

PATH is whatever ``ddpnas search --data`` takes: for CIFAR-10 the directory of torchvision's files,
or a .npz. Every search runs for the same processor seconds (of one thread) on a small proxy
network. The table (NAS-Bench-201 or NAS-Bench-Macro, both of CIFAR-10) is read after the search
only. Each finished search is kept in a JSON file, and what is there is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import write_record
from benchmarks.weight_sharing.methods import METHODS
from benchmarks.weight_sharing.task import Plan, Stopwatch, Task, distinct_cells, test_accuracy
from ddpnas import SearchSpace, create_space
from ddpnas.benchmarks import load_table
from ddpnas.data import Data, SieveConfig, list_sieves, load_data
from ddpnas.data.sieves import sieve_options
from ddpnas.evaluators import SupernetConfig

JUDGED_SEED = 1234  # of the networks of the rank correlation, the same for all searches


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    data, space = _data(options), _space(options)
    table = load_table(options.space)
    judged = distinct_cells(space, options.judged, JUDGED_SEED)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for method in _methods(options):
            path = out / f"{method}{options.label}-{seed}.json"
            if path.exists():
                continue
            task = Task(
                space, data, table, options.seconds, seed, judged, _supernet(options),
                _plan(options), options.standalone_epochs, _sieve(options),
            )  # fmt: skip
            wall, watch = time.perf_counter(), Stopwatch()
            found = METHODS[method](task, watch)
            for finalist in found.details.get("finalists", []):
                finalist["test_accuracy"] = test_accuracy(table, space.parse(finalist["text"]))
            result = {
                "method": method + options.label,
                "seed": seed,
                "text": space.format(found.architecture),
                "test_accuracy": test_accuracy(table, found.architecture),
                "tau": found.tau,
                "processor_seconds": watch.seconds,
                "wall_seconds_with_verdict": time.perf_counter() - wall,
                "details": found.details,
                "options": {
                    **vars(options),
                    "data": Path(options.data).name,
                    "out": out.name,
                },
            }
            write_record(path, result)
            print(_line(result), flush=True)
    print(summary([json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]))


def summary(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a method a line, mean and standard deviation over its seeds."""
    lines = [
        "| method | n | test accuracy, mean +- std | least | Kendall tau | processor seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    by_method: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_method.setdefault(result["method"], []).append(result)
    means = {
        name: statistics.fmean(r["test_accuracy"] for r in group)
        for name, group in by_method.items()
    }
    for name in sorted(by_method, key=lambda n: -means[n]):
        group = by_method[name]
        reached = [r["test_accuracy"] for r in group]
        taus = [r["tau"] for r in group if r["tau"] is not None]
        lines.append(
            f"| {name} | {len(group)} | {means[name]:.2f} +- "
            f"{statistics.stdev(reached) if len(reached) > 1 else 0:.2f} | {min(reached):.2f} | "
            f"{f'{statistics.fmean(taus):.2f}' if taus else ''} | "
            f"{statistics.fmean(r['processor_seconds'] for r in group):.0f} |"
        )
    return "\n".join(lines)


def _line(result: dict[str, Any]) -> str:
    tau = "" if result["tau"] is None else f", tau {result['tau']:.3f}"
    return (
        f"{result['method']} seed {result['seed']}: {result['test_accuracy']:.2f} %{tau}, "
        f"{result['processor_seconds']:.0f} s, {result['text']}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, help="CIFAR-10: a directory or .npz file")
    add("--out", required=True, help="folder of the results")
    add("--methods", help=f"separated by commas, of {', '.join(METHODS)}; default: all that apply")
    add("--label", default="", help="added to the method's name in results: for ablations")
    add("--seeds", type=int, default=5)
    add("--first-seed", type=int, default=0)
    add("--seconds", type=float, default=1800, help="processor seconds of each search")
    add("--space", default="nasbench201", choices=["nasbench201", "nasbench-macro"])
    add("--channels", type=int, default=8, help="of the first stage; the benchmarks: 16, 32")
    add("--cells", type=int, default=1, help="a stage, of NAS-Bench-201")
    add("--image-size", type=int, default=16)
    add("--train-images", type=int, default=10_000)
    add("--valid-images", type=int, default=2_500)
    add("--batch-size", type=int, default=64, help="images of a path's step")
    add(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="shift and mirror images of shared weights; default: as SupernetConfig does",
    )
    add("--lr", type=float, default=0.1)
    add("--weight-decay", type=float, default=3e-4)
    add("--shared-gradients", default="sum", choices=["sum", "mean"], help="see SupernetConfig")
    add("--score", default="loss", choices=["accuracy", "loss"], help='"paper" has accuracy')
    add("--prior", type=float, default=0.5, help="weight of the training-free scores")
    add("--sieve", default="all", choices=list_sieves(), help='of "fair-stages"')
    add("--sieve-keep", type=float, default=0.4, help="share of the training images at the end")
    add("--sieve-valid-keep", type=float, default=1.0, help="share of the validation images")
    add("--judged", type=int, default=200, help="networks of the rank correlation")
    add("--standalone-epochs", type=int, default=5, help="of each network of the random search")
    add("--passes", type=int, help="of fair-stages, instead of what the time allows")
    add("--cycles-per-stage", type=int, default=20)
    add("--keep", type=int, default=1)
    add("--finalists", type=int, default=0)
    add("--finalist-share", type=float, default=0.0, help='of the time; "prior": all that is left')
    add("--prior-cycles", type=int, default=60)
    return parser


def _methods(options: argparse.Namespace) -> list[str]:
    if options.methods is not None:
        return list(options.methods.split(","))
    cells = ("resnet-cell", "pcdarts")  # of NAS-Bench-201 alone
    return [name for name in METHODS if name not in cells or options.space == "nasbench201"]


def _space(options: argparse.Namespace) -> SearchSpace:
    shape = (3, options.image_size, options.image_size)
    if options.space == "nasbench-macro":
        return create_space(options.space, width=options.channels / 32, input_shape=shape)
    return create_space(
        options.space,
        channels=options.channels,
        cells_per_stage=options.cells,
        input_shape=shape,
    )


def _data(options: argparse.Namespace) -> Data:
    """Return the search's images: the first ones to train, of what is left the next to score."""
    images = options.train_images + options.valid_images
    data = load_data(
        options.data,
        image_size=options.image_size,
        limit_train_images=images,
        valid_fraction=options.valid_images / images,
    )
    return dataclasses.replace(data, test=None)


def _supernet(options: argparse.Namespace) -> SupernetConfig:
    return SupernetConfig(
        batch_size=options.batch_size,
        augment=options.augment,
        lr=options.lr,
        weight_decay=options.weight_decay,
        score=options.score,
        proxy_weight=options.prior,
        shared_gradients=options.shared_gradients,
        training="fair",
    )


def _sieve(options: argparse.Namespace) -> SieveConfig:
    given = {"keep": options.sieve_keep, "valid_keep": options.sieve_valid_keep}
    known = {name: value for name, value in given.items() if name in sieve_options(options.sieve)}
    return SieveConfig(options.sieve, known)


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        options.passes,
        options.cycles_per_stage,
        options.keep,
        options.finalists,
        options.finalist_share,
        options.prior_cycles,
    )


if __name__ == "__main__":
    main()
