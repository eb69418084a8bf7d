"""How fast a small network trains with one or all threads, alone and beside busy processes.

    python -m benchmarks.threads --busy 0 1 2 4 --rounds 2 --out threads.json

Each reading is a fresh process that trains the design `resnet-9` of 2M multiply-adds on
Fashion-MNIST for a few seconds. Ways take turns, so that a drift of the machine meets all of them.
A busy process computes without end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import ddpnas
from benchmarks.fit_time import busy
from benchmarks.record import write_record
from ddpnas.data import Loader
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.training.plateau import PlateauTraining
from ddpnas.training.recipes import create_recipe

# How OpenMP waits matters where threads outnumber free cores.
WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "all threads": {},
    "all threads, GOMP_SPINCOUNT=0": {"GOMP_SPINCOUNT": "0"},
    "all threads, OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
_MACS = 2e6


def images_a_second(seconds: float) -> float:
    """Return how many images a second a network trains on, in this process."""
    data = ddpnas.load_data("fashion-mnist-12k")
    limits = {"macs": _MACS}
    space = ddpnas.create_space("edge", input_shape=data.input_shape, limits=limits)
    assert isinstance(space, EdgeSpace)
    network = space.build(space.scaled("resnet-9", limits))
    loader = Loader(data, [data.train], torch.device("cpu"))
    training = PlateauTraining(network, create_recipe("quick"), loader, seed=0)
    training.train(2)
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        training.train(1)
        steps += 1
    each = len(data.train) / training.steps_an_epoch
    return steps * each / (time.perf_counter() - begun)


def reading(way: str, seconds: float) -> float:
    """Return the images a second of a fresh process."""
    known = {name for settings in WAYS.values() for name in settings}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.threads", "--seconds", str(seconds), "--here"],
        env={**clean, **WAYS[way]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure all ways in turn, and write the median of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a reading")
    parser.add_argument("--here", action="store_true", help="print a single reading")
    parser.add_argument("--out", type=Path, default=Path("threads.json"))
    options = parser.parse_args()
    if options.here:
        print(images_a_second(options.seconds))
        return
    readings: dict[str, dict[str, list[float]]] = {}
    for number, _ in itertools.product(options.busy, range(options.rounds)):
        for way in WAYS:
            with busy(number):
                found = reading(way, options.seconds)
            readings.setdefault(f"{number} busy", {}).setdefault(way, []).append(round(found))
            print(f"{number} busy, {way}: {found:,.0f} images/s", flush=True)
    medians = {
        number: {way: statistics.median(values) for way, values in ways.items()}
        for number, ways in readings.items()
    }
    write_record(options.out, {"images a second": medians, "readings": readings})


if __name__ == "__main__":
    main()
