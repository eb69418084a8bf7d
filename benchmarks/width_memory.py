"""Memory of steps on a supernet with undecided widths, against the largest network alone.

A separate process measures each: how much the peak of resident memory grows over training steps,
once everything is imported. Claim: that of the supernet, on random paths, is at most 1.1
times that of the largest built network, plus the parameters and momentum of the supernet.

    python -m benchmarks.width_memory --out records/speed/width-memory.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import ddpnas
from benchmarks.record import write_record
from ddpnas.evaluators import SupernetConfig
from ddpnas.evaluators.shared_weights import make_sgd
from ddpnas.evaluators.slice_updates import SliceUpdates

BATCH, STEPS = 64, 8


def peak() -> int:
    """Return the peak of this process's memory so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def grown(what: str) -> dict[str, Any]:
    """Return the growth of memory over steps on a supernet, or on the largest network."""
    space = ddpnas.create_space(
        "edge", input_shape=(1, 28, 28), num_classes=10, limits={"macs": "2M"}
    )
    largest = {d.name: d.options[-1] for d in space.decisions} | {"head": "conv"}
    supernet = space.supernet()
    network = supernet if what == "supernet" else space.build(largest)
    network.train()
    optimizer = make_sgd(list(network.parameters()), SupernetConfig(), torch.device("cpu"))
    rng = np.random.default_rng(0)
    inputs = torch.randn(BATCH, *space.input_shape)
    labels = torch.arange(BATCH) % 10
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    before = peak()
    slices = SliceUpdates(supernet, optimizer) if network is supernet else None
    for step in range(STEPS):
        if slices is not None:
            supernet.set_path(largest if step == 0 else space.sample(rng))
            slices.begin(supernet.path_parameters())
        optimizer.zero_grad(set_to_none=True)
        loss: Any = functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
        if slices is not None:
            slices.end()
    return {"growth": peak() - before, "weights": weights}


def main() -> None:
    """Measure both, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["supernet", "network"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what is not None:
        print(json.dumps(grown(options.what)))
        return
    found = {}
    for what in ("supernet", "network"):
        command = [sys.executable, "-m", "benchmarks.width_memory", "--what", what]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        found[what] = json.loads(ended.stdout.splitlines()[-1])
    allowed = 1.1 * found["network"]["growth"] + 2 * found["supernet"]["weights"]
    found["share_of_allowed"] = found["supernet"]["growth"] / allowed
    print(json.dumps(found, indent=1))
    if options.out is not None:
        write_record(options.out, {"command": "python -m benchmarks.width_memory", **found})


if __name__ == "__main__":
    main()
