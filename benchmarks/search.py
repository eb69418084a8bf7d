"""Where the time of a whole search goes: training, validation, proxies, the strategy, saving.

Claim: the strategy and the checkpoints take less than 2 % together. The default search, or with
``--paper`` the published one, in the size of ``make search``, with a run folder; the shares come
from the run's own history and progress. What is left is reading data and starting.

    python -m benchmarks.search --out records/speed/search.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

import ddpnas
from benchmarks.record import write_record


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--paper", action="store_true", help="the published search")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=options.images)
    space = ddpnas.create_space(
        "nasbench201", channels=8, cells_per_stage=1, input_shape=data.input_shape
    )
    epochs: list[Mapping[str, float]] = []  # of training that is not part of a score

    def note(progress: ddpnas.runs.Progress) -> None:
        if progress.epoch is not None:
            epochs.append(progress.epoch)

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = ddpnas.search(
            space,
            data,
            out=Path(folder) / "run",
            strategy="ddpnas-paper" if options.paper else "ddpnas",
            evaluator_options={"training": "path"} if options.paper else None,
            on_progress=note,
        )
        whole = time.perf_counter() - started
    measured = [*result.history, *epochs]
    parts = {
        part: sum(record.get(f"{part}_seconds", 0.0) for record in measured)
        for part in ("train", "valid", "proxy", "strategy", "saving")
    }
    parts["rest"] = whole - sum(parts.values())
    images = sum(record.get("train_images", 0) for record in measured)
    for part, seconds in parts.items():
        print(f"{part:9} {seconds:8.2f} s {100 * seconds / whole:6.2f} %")
    print(f"{'whole':9} {whole:8.2f} s; {images / parts['train']:,.0f} images a second in training")
    if options.out is not None:
        record = {
            "command": f"python -m benchmarks.search --images {options.images} "
            f"--threads {options.threads}{' --paper' * options.paper}",
            "evaluations": len(result.history),
            "training_images": len(data.train),
            "validation_images": len(data.valid),
            "seconds": parts,
            "shares": {part: seconds / whole for part, seconds in parts.items()},
            "whole_s": whole,
            "training_images_a_second": images / parts["train"],
        }
        write_record(options.out, record)


if __name__ == "__main__":
    main()
