"""How long `ddpnas fit` takes against the minutes it was given, alone and beside busy processes.

    python -m benchmarks.fit_time --minutes 0.5 2 --busy 0 2 --core 1 --out times.jsonl

Three folders are made from the embedded photographs of hands: as they are, in odd sizes (portrait
and landscape), and imbalanced (one class has ten times the images of another). Each fit runs
in a separate process and is timed from its start to its last line. A busy process computes without
end, on the same core if one is given. One JSON line for each fit; those that are there are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import ddpnas
from ddpnas.data import TensorSplit

FOLDERS = ("photographs", "odd sizes", "imbalanced")
_LIMIT = "macs=1M"


def make_folder(kind: str, path: Path) -> None:
    """Write the images of the embedded photographs into class folders.

    Args:
        kind: One of ``FOLDERS``.
        path: The folder to make.
    """
    data = ddpnas.load_data("sign-digits-small")
    rng = np.random.default_rng(0)
    for name, split in data.splits.items():
        assert isinstance(split, TensorSplit)
        for number, (pixels, label) in enumerate(zip(split.inputs, split.labels, strict=True)):
            one = int(label)
            if kind == "imbalanced" and one % 2 and rng.random() < 0.9:
                continue
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            if kind == "odd sizes":
                image = image.resize((int(rng.integers(20, 90)), int(rng.integers(20, 90))))
            folder = path / data.classes[one]
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{name}-{number}.png")


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Run processes that compute without end, on the cores of this one."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def fit_seconds(folder: Path, minutes: float, out: Path) -> float:
    """Return the seconds of a fit, from the start of its process to its end."""
    words = ["fit", str(folder), "--limit", _LIMIT, "--minutes", str(minutes), "--out", str(out)]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ddpnas", *words, "--quiet"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 2.0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--folders", nargs="+", default=list(FOLDERS), choices=FOLDERS)
    parser.add_argument("--core", type=int, help="run everything on this core")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    done = options.out.read_text().splitlines() if options.out.exists() else []
    known = {tuple(json.loads(line)[k] for k in ("folder", "minutes", "busy")) for line in done}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.folders:
            make_folder(kind, folder := Path(scratch) / kind.replace(" ", "-"))
            for minutes in options.minutes:
                for number in options.busy:
                    if (kind, minutes, number) in known:
                        continue
                    load = os.getloadavg()[0]
                    with busy(number):
                        seconds = fit_seconds(folder, minutes, Path(scratch) / f"run-{time.time()}")
                    line = {"folder": kind, "minutes": minutes, "busy": number,
                            "seconds": round(seconds, 1), "over": round(seconds - 60 * minutes, 1),
                            "load": round(load, 2)}  # fmt: skip
                    with options.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
