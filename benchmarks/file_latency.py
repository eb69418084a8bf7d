"""How long the networks of a comparison take as files: found, random and torchvision's.

Reads what ``ddpnas train --random --baseline`` keeps (``result.json``), builds every network anew
(weights do not change the time), exports it, and times all files of a comparison in turns.

    python -m benchmarks.file_latency runs/a/trained/result.json
        --input-shape 1,28,28 --space nasbench201
        --space-options '{"channels": 8, "cells_per_stage": 1}'
        --out onnx-latency.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import ddpnas
from benchmarks.record import write_record
from ddpnas.export import Deployable, Input, OnnxFile, measure_latencies
from ddpnas.training.networks import find_network


def measure(path: Path, space: ddpnas.SearchSpace) -> list[dict[str, Any]]:
    """Return the milliseconds of each network of a comparison, one image at a time."""
    compared = json.loads(path.read_text())
    classes = len(compared["classes"])
    files, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, network in enumerate(compared["networks"]):
            architecture = network.get("architecture")
            built = (
                space.build(architecture)
                if architecture
                else find_network(f"torchvision:{network['text']}").build(
                    classes, space.input_shape
                )
            )
            file = Path(folder) / f"{index}.onnx"
            ddpnas.export_onnx(Deployable(built, Input(space.input_shape)), file)
            files.append(OnnxFile(file))
            rows.append({"name": network["name"], "accuracy": network["accuracy"]})
        for row, (median_ms, _), file_costs in zip(
            rows, measure_latencies(files), (n["costs"] for n in compared["networks"]), strict=True
        ):
            row["median_ms"] = median_ms
            row |= {name: file_costs[name] for name in ("macs", "params")}
    return rows


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--space", required=True)
    parser.add_argument("--space-options", type=json.loads, default={}, help="JSON")
    parser.add_argument("--input-shape", required=True, help="of an image: 1,28,28")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = tuple(map(int, options.input_shape.split(",")))
    space = ddpnas.create_space(options.space, **options.space_options, input_shape=shape)
    of: dict[str, list[dict[str, Any]]] = {}
    for path in options.results:
        of[path.stem] = measure(path, space)
        print(path.stem)
        for row in of[path.stem]:
            print(
                f"  {row['name']:18} {row['median_ms']:7.3f} ms {row['macs']:12,.0f} MACs "
                f"{row['params']:12,.0f} parameters {100 * row['accuracy']:6.2f} %",
                flush=True,
            )
        times = [r["median_ms"] for r in of[path.stem] if r["name"].startswith("random")]
        if times:
            print(f"  random, mean       {statistics.fmean(times):7.3f} ms")
    if options.out is not None:
        command = f"python -m benchmarks.file_latency {' '.join(map(str, options.results))}"
        about = {"command": command, "space": options.space, "options": options.space_options}
        write_record(
            options.out,
            {**about, "input_shape": shape, "threads": options.threads, "networks": of},
        )


if __name__ == "__main__":
    main()
