"""Images a second from a folder of JPEG files: read once into memory, or streamed.

Claim: processes that read ahead take decoding and resizing off the training process; what a
streamed pass gives grows with them until the cores are busy. So the processor time that an image
takes in the training process is reported beside the images a second, which other work on the
machine lessens. The files are made here: smooth
colour pictures with noise, in an ImageNet-style layout. Of several passes the first starts the
processes, the others use them; all deliver normalised, augmented batches.

    python -m benchmarks.loading --out records/speed/loading.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ddpnas
from benchmarks.record import write_record
from ddpnas.data import Loader


def make_folder(root: Path, images: int, pixels: int, classes: int = 4) -> None:
    """Write so many JPEG files of that many pixels a side into train/ and valid/."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("valid", classes * 2)):
        for number in range(count):
            folder = root / split / f"class{number % classes}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((pixels, pixels), Image.Resampling.BICUBIC))
            noisy = smooth + rng.normal(0, 8, smooth.shape)
            picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
            picture.save(folder / f"{number}.jpg", quality=90)


def passes(data: ddpnas.Data, batch_size: int, count: int) -> tuple[list[float], list[float]]:
    """Return of each training pass the images a second, and this process's ms an image."""
    loader = Loader(data, [data.train], torch.device("cpu"))
    rates, own = [], []
    for number in range(count):
        started, busy = time.perf_counter(), time.process_time()
        images = sum(len(labels) for _, labels in loader.train_batches(batch_size, number))
        rates.append(images / (time.perf_counter() - started))
        own.append(1000 * (time.process_time() - busy) / images)
    return rates, own


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=256, help="a side of the files")
    parser.add_argument("--image-size", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--passes", type=int, default=4, help="the first is reported by itself")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), options.images, options.pixels)
        for size in options.image_size:
            started = time.perf_counter()
            data = ddpnas.load_data(folder, image_size=size)
            reading = options.images / (time.perf_counter() - started)
            rates, own = passes(data, options.batch_size, options.passes)
            rows.append((size, "in memory", reading, rates, own))
            for workers in options.workers:
                data = ddpnas.load_data(folder, in_memory_bytes=0, image_size=size, workers=workers)
                rates, own = passes(data, options.batch_size, options.passes)
                rows.append((size, f"streamed, workers {workers}", None, rates, own))
    print(f"{options.images} JPEG files of {options.pixels} x {options.pixels}; images a second")
    print(
        f"{'size':>4}  {'':19} {'read once':>10} {'first pass':>10} {'later':>7} {'spread':>7} "
        f"{'own ms an image':>16}"
    )
    for size, how, reading, (first, *rest), (_, *own) in rows:
        spread = statistics.stdev(rest) if len(rest) > 1 else 0.0
        read = f"{reading:,.0f}" if reading is not None else "-"
        print(
            f"{size:4}  {how:19} {read:>10} {first:10,.0f} {statistics.mean(rest):7,.0f} "
            f"{spread:7,.0f} {statistics.mean(own):16.2f}"
        )
    if options.out is not None:
        record = {
            "command": "python -m benchmarks.loading "
            f"--images {options.images} --pixels {options.pixels} --image-size "
            f"{' '.join(map(str, options.image_size))} --workers "
            f"{' '.join(map(str, options.workers))} --batch-size {options.batch_size} "
            f"--passes {options.passes}",
            "rows": [
                {
                    "image_size": size,
                    "how": how,
                    "read_once_per_s": reading,
                    "passes_per_s": rates,
                    "training_process_ms_per_image": own,
                }
                for size, how, reading, rates, own in rows
            ],
        }
        write_record(options.out, record)


if __name__ == "__main__":
    main()
