"""Does a search pay? Networks after T seconds in all, by ``fit`` and by what you would do without.

T is wall seconds of one process pinned to one core with one thread, from loaded images to final
weights. Every competitor is scaled to the limit and trained for all of T with the recipe ``quick``.
Nobody trains on validation images; test images are read once, at the end. Two cells run at once,
one on each core. Each cell is a JSON file in ``--out``; cells that are there are skipped.

    python -m benchmarks.worth --set-up ../shared/data
    python -m benchmarks.worth --settings fashion-2m --seconds 120 --seeds 0 1 2
    python -m benchmarks.worth --settings fashion-{0.5,1,2,4,8}m --seconds 60
    python -m benchmarks.worth --settings fashion-0.6ms cifar-1.5ms --competitors fit residual
    python -m benchmarks.worth --competitors fit+random fit+dynamics --seconds 120 --seeds 0
    python -m benchmarks.worth --competitors search inherit tiered --seconds 300 --seeds 0
    python -m benchmarks.worth --settings photos hands --competitors start tuned-32 tuned-64
    python -m benchmarks.worth --table

The set-up fetches all of Fashion-MNIST from Debian's package ``dataset-fashion-mnist``, and takes
photographs of hands and CIFAR-10 from a folder.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

import ddpnas
from benchmarks.record import write_record
from benchmarks.worth_searches import SEARCHES, space_within
from benchmarks.worth_start import fine_tuned, is_start
from ddpnas.costs.latency_check import time_network
from ddpnas.data.data import make_data
from ddpnas.data.loader import Loader
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.fitting.timed import LATENCY, TimedLimits, split_limits
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import parse_limits
from ddpnas.space import Architecture
from ddpnas.space.copies import copied
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.training.recipes import create_recipe
from ddpnas.utils.seeds import seeded

COMPETITORS = ("residual", "mobilenet-v2", "regnet", "random", "fit")
OUT = Path("records/fit/worth")


@dataclass(frozen=True)
class Setting:
    """A data set and a limit.

    Attributes:
        data: Name of the file below the data folder.
        limit: What a network may cost at most, and how much.
        tuned: Whether defaults of ``fit`` were chosen on it.
        images: Training images, validation included, and test images that are used; None for all.
    """

    data: str
    limit: Mapping[str, float]
    tuned: bool
    images: tuple[int, int] | None = None


SETTINGS = {
    "fashion-2m": Setting("FashionMNIST", {"macs": 2e6}, True),
    "signs-4m": Setting("signs.npz", {"macs": 4e6}, True),
    "fashion-0.5m": Setting("FashionMNIST", {"macs": 5e5}, False),
    "cifar-10m": Setting("cifar.npz", {"macs": 1e7}, False),
}
# One search for five budgets against five networks by hand, a fifth of the time for each.
BUDGETS = {f"fashion-{n}m": Setting("FashionMNIST", {"macs": n * 1e6}, True) for n in (1, 4, 8)}
# One image, one thread. `fit` times networks within its time, rivals are timed before theirs.
MILLISECONDS = {
    "fashion-0.6ms": Setting("FashionMNIST", {"latency_ms": 0.6}, False),
    "cifar-1.5ms": Setting("cifar.npz", {"latency_ms": 1.5}, False),
}
# A pretrained network, fine-tuned on few photographs; no limit.
PHOTOGRAPHS = {
    "photos": Setting("cifar.npz", {}, False, (2500, 2000)),
    "hands": Setting("signs.npz", {}, True),
}
ALL = {**SETTINGS, **BUDGETS, **MILLISECONDS, **PHOTOGRAPHS}


def load(
    setting: Setting, folder: Path, seed: int
) -> tuple[ddpnas.Data, torch.Tensor, torch.Tensor]:
    """Return data without test images, and the test images with their labels.

    Args:
        setting: The setting.
        folder: Where the data sets are.
        seed: Chooses the split of photographs, of which there are few.
    """
    if setting.data == "FashionMNIST":
        from torchvision.datasets import FashionMNIST

        test = FashionMNIST(str(folder), train=False)
        embedded = ddpnas.load_data("fashion-mnist-12k")
        return dataclasses.replace(embedded, test=None), test.data[:, None], test.targets
    found = np.load(folder / setting.data)
    images = [found["train_images"], found["test_images"]]
    labels = [found["train_labels"], found["test_labels"]]
    if setting.data == "signs.npz":
        # Three stratified splits of all photographs, pooled in the table.
        split = make_data(
            (np.concatenate(images), np.concatenate(labels)), test_fraction=0.2, seed=seed
        )
        assert split.test is not None
        tested = cast(Any, split.test)
        return dataclasses.replace(split, test=None), tested.inputs, tested.labels
    trained, tested = setting.images or (len(labels[0]), len(labels[1]))
    data = make_data((images[0][:trained], labels[0][:trained]), seed=0)
    pixels = torch.from_numpy(images[1][:tested]).permute(0, 3, 1, 2)
    return data, pixels, torch.from_numpy(labels[1][:tested]).long()


def set_up(folder: Path, shared: Path) -> None:
    """Fetch and convert the data sets that are not there yet.

    Args:
        folder: Where they go.
        shared: Folder that holds ``sign_digits_rgb32.npz`` and ``cifar10_jpeg_{train,test}.npz``.
    """
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not any(raw.iterdir()):
        with tempfile.TemporaryDirectory() as scratch:
            run_here = partial(subprocess.run, check=True, cwd=scratch)
            run_here(["apt-get", "download", "dataset-fashion-mnist"])
            [package] = Path(scratch).glob("*.deb")
            run_here(["dpkg", "-x", package.name, "."])
            for packed in Path(scratch).rglob("*-ubyte.gz"):
                (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    shutil.copy(shared / "sign_digits_rgb32.npz", folder / "signs.npz")
    arrays = {}
    for split, number in (("train", 10_000), ("test", 10_000)):
        found = np.load(shared / f"cifar10_jpeg_{split}.npz")
        header, body, offsets = bytes(found["header"]), found["body"].tobytes(), found["offsets"]
        arrays[f"{split}_images"] = np.stack(
            [
                np.array(Image.open(io.BytesIO(header + body[offsets[i] : offsets[i + 1]])))
                for i in range(number)
            ]
        )
        arrays[f"{split}_labels"] = found["labels"][:number]
    np.savez(folder / "cifar.npz", allow_pickle=False, **arrays)


def alone(
    make: Callable[[], nn.Module], data: ddpnas.Data, seconds: float, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Train one network for the whole time."""
    begun = time.perf_counter()
    recipe = create_recipe("quick")
    each = epoch_seconds(make(), data, recipe, "cpu")
    left = seconds - (time.perf_counter() - begun)
    epochs = max(1, int(2 * left / each))  # the clock drops those that do not fit
    trained = ddpnas.train(
        make(), data, recipe, epochs=epochs, seconds=left, seed=seed, device="cpu"
    )
    return trained.model, {"epochs": len(trained.history)}


def competitor(
    name: str, data: ddpnas.Data, limit: Mapping[str, float], seconds: float, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a trained network, and what is to be said of it: the seconds it took, for example."""
    begun = time.perf_counter()
    if name.startswith("fit"):
        sieve = name.partition("+")[2] or "all"
        fitted = ddpnas.fit(data, limit, seconds / 60, sieve=sieve, seed=seed, device="cpu")
        took = time.perf_counter() - begun
        phases = {phase: round(s, 2) for phase, s in fitted.seconds.items()}
        assert fitted.space is not None
        space, chosen, model = cast(EdgeSpace, fitted.space), fitted.architecture, fitted.model
        raced = [] if fitted.search is None else fitted.search.history
        race = [{k: r[k] for k in ("accuracy", "epochs")} for r in raced]
        about = {"epochs": len(fitted.trained.history), "phases": phases, "race": race}
    else:
        begins: nn.Module | None = None
        if name in SEARCHES:
            space, chosen, begins = SEARCHES[name](data, limit, seconds / 2, seed)
        else:
            space, chosen = by_hand(name, data, limit, seed)
            begun = time.perf_counter()

        def make() -> nn.Module:
            if begins is not None:
                return copied(begins)
            with seeded(seed):
                return space.build(chosen)

        searching = time.perf_counter() - begun
        if searching >= seconds:
            raise SystemExit(f"{name} alone took {searching:.0f} s, of {seconds:g} for all")
        model, about = alone(make, data, seconds - searching, seed)
        took = time.perf_counter() - begun
        about["searching"] = round(searching, 2)
    about = {"took": round(took, 2), "architecture": space.format(chosen), **about}
    if LATENCY in limit:
        about["measured_ms"] = time_network(space, chosen)["median_ms"]
    return model, about


def by_hand(
    name: str, data: ddpnas.Data, limit: Mapping[str, float], seed: int
) -> tuple[EdgeSpace, Architecture]:
    """Return a design scaled to the limit, or a random network close below it, and its space."""
    space, _ = space_within(data, limit)
    _, timed = split_limits(parse_limits(limit))
    if timed:  # no random networks of such a limit
        return space, TimedLimits(space, timed).design(name, {})
    if name == "random":
        [cost] = limit
        near = {cost: (0.95 * limit[cost], limit[cost])}
        rng = np.random.default_rng(seed)
        return space, sample_within(space, near, ddpnas.count_costs(space), rng)
    return space, space.scaled(name, dict(limit))


def right(model: nn.Module, data: ddpnas.Data, images: torch.Tensor, labels: torch.Tensor) -> Any:
    """Return which of these images the network classifies correctly, (N,) booleans."""
    split = ddpnas.data.TensorSplit(images, labels)
    loader = Loader(data, [split], torch.device("cpu"))
    with torch.inference_mode():
        found = [model(x).argmax(1) == y for x, y in loader.eval_batches(500)]
    return torch.cat(found).numpy()


def cell(options: argparse.Namespace) -> None:
    """Run one cell and write its file."""
    torch.set_num_threads(1)
    setting = ALL[options.setting]
    data, images, labels = load(setting, options.data_folder, options.seed)
    if is_start(options.competitor):
        model, data, about = fine_tuned(
            options.competitor, data, options.seconds, options.seed, options.weights
        )
        images = Preprocessing(data.input_shape, interpolation=data.interpolation).fit(images)
    else:
        model, about = competitor(
            options.competitor, data, setting.limit, options.seconds, options.seed
        )
    model.eval()
    valid = cast(Any, data.valid)
    tested = right(model, data, images, labels)
    costs = ddpnas.count_network(model, data.input_shape)
    record = {
        "setting": options.setting, "competitor": options.competitor, "seed": options.seed,
        "seconds": options.seconds,
        "valid": float(right(model, data, valid.inputs, valid.labels).mean()),
        "test": float(tested.mean()), "images": len(tested),
        "macs": costs["macs"], "params": costs["params"], **about,
        "right": base64.b64encode(np.packbits(tested).tobytes()).decode(),
    }  # fmt: skip
    write_record(options.file, record)
    print(
        f"{options.file.stem}: test {100 * record['test']:.2f} %, took {record['took']:.1f} s",
        flush=True,
    )


def cells(options: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """Yield file and command of each cell that is missing."""
    for seed in options.seeds:
        for setting in options.settings:
            for name in options.competitors:
                for seconds in options.seconds:
                    file = options.out / f"{setting}-{name}-{seconds:g}s-{seed}.json"
                    if not file.exists():
                        yield file, [
                            sys.executable, "-m", "benchmarks.worth", "--cell", str(file),
                            "--settings", setting, "--competitors", name, "--seeds", str(seed),
                            "--seconds", f"{seconds:g}",
                            "--data-folder", str(options.data_folder),
                            "--weights", str(options.weights),
                        ]  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Run all missing cells, one on each core."""
    waiting = list(cells(options))
    free, running = list(options.cores), dict[subprocess.Popen[bytes], int]()
    failed = 0
    while waiting or running:
        while waiting and free:
            core = free.pop()
            _, command = waiting.pop(0)
            pinned = ["taskset", "--cpu-list", str(core), *command]
            process = subprocess.Popen(pinned, env={**os.environ, "OMP_NUM_THREADS": "1"})
            running[process] = core
        time.sleep(0.5)
        for process in [p for p in running if p.poll() is not None]:
            free.append(running.pop(process))
            failed += process.returncode != 0
    if failed:
        raise SystemExit(f"{failed} cells failed")


def table(folder: Path) -> None:
    """Print fit minus the best rival of each setting and time, with a paired bootstrap interval."""
    found: dict[tuple[str, float], dict[str, list[dict[str, Any]]]] = {}
    for file in sorted(folder.glob("*.json")):
        one = json.loads(file.read_text())
        group = found.setdefault((one["setting"], one["seconds"]), {})
        group.setdefault(one["competitor"], []).append(one)
    rng = np.random.default_rng(0)
    print("| setting | seconds | competitor | n | validation | test | sd |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    lines = []
    for (setting, seconds), group in sorted(found.items()):
        for name, ones in sorted(group.items(), key=lambda g: -np.mean([o["test"] for o in g[1]])):
            tests = [100 * o["test"] for o in ones]
            spread = f"{np.std(tests, ddof=1):.2f}" if len(tests) > 1 else "-"
            valid = 100 * np.mean([o["valid"] for o in ones])
            print(
                f"| {setting} | {seconds:g} | {name} | {len(ones)} | {valid:.2f} "
                f"| {np.mean(tests):.2f} | {spread} |"
            )
        # The design that fit begins with shows what its size is worth; nobody had it by hand.
        ours = ("fit", "resnet-9")
        rivals = {n: v for n, v in group.items() if n not in ours and "+" not in n}
        if "fit" in group and rivals:
            best = max(rivals, key=lambda n: np.mean([o["valid"] for o in rivals[n]]))
            lines.append(_against(setting, seconds, group["fit"], best, rivals[best], rng))
    print("\n| setting | seconds | rival by validation | fit minus rival | 95 % interval |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(lines))


def _against(
    setting: str,
    seconds: float,
    ours: list[dict[str, Any]],
    rival: str,
    theirs: list[dict[str, Any]],
    rng: np.random.Generator,
) -> str:
    """Return a row: the mean difference, bootstrapped over seeds and images."""
    by_seed = {o["seed"]: o for o in theirs}
    pairs = [(_bits(o), _bits(by_seed[o["seed"]])) for o in ours if o["seed"] in by_seed]
    differences = [a.astype(float) - b for a, b in pairs]
    drawn = []
    for _ in range(2000):
        seeds = rng.integers(len(differences), size=len(differences))
        drawn.append(
            np.mean([rng.choice(differences[s], size=len(differences[s])).mean() for s in seeds])
        )
    low, high = 100 * np.quantile(drawn, [0.025, 0.975])
    mean = 100 * np.mean([d.mean() for d in differences])
    return f"| {setting} | {seconds:g} | {rival} | {mean:+.2f} | {low:+.2f} to {high:+.2f} |"


def _bits(one: dict[str, Any]) -> Any:
    packed = np.frombuffer(base64.b64decode(one["right"]), dtype=np.uint8)
    return np.unpackbits(packed)[: one["images"]]


def main() -> None:
    """Run the cells that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(ALL))
    parser.add_argument("--competitors", nargs="+", default=list(COMPETITORS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", nargs="+", type=float, default=[120.0, 300.0])
    parser.add_argument("--cores", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--data-folder", type=Path, default=Path("build/worth"))
    parser.add_argument("--weights", type=Path, default=Path("build/lite0.safetensors"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--set-up", type=Path, dest="shared")
    parser.add_argument("--cell", type=Path, dest="file")
    options = parser.parse_args()
    if options.shared is not None:
        set_up(options.data_folder, options.shared)
    elif options.table:
        table(options.out)
    elif options.file is not None:
        options.setting, options.competitor = options.settings[0], options.competitors[0]
        options.seed, options.seconds = options.seeds[0], options.seconds[0]
        cell(options)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        run(options)


if __name__ == "__main__":
    main()
