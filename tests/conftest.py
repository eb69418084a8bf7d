"""What the tests share: a tiny task that can be learned, and the smallest useful supernet."""

from __future__ import annotations

import functools
import gc
import json
import os
from pathlib import Path

for _library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy: the tests run in several processes,
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # and more threads than cores stall

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from torch.utils.flop_counter import FlopCounterMode

import ddpnas
from ddpnas.costs import _timers, export_latency, remote_latency

torch.set_num_threads(1)
# A busy machine is no failure, and a change fails by itself, not by new examples; see `make fuzz`.
settings.register_profile(
    "untimed", deadline=None, derandomize="FUZZ" not in os.environ, database=None
)
settings.load_profile("untimed")


def striped_images(n: int, classes: int = 3, size: int = 8, seed: int = 0) -> tuple:
    """Return (images, labels): grey stripes whose direction is the class, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    rows, columns = np.mgrid[:size, :size]
    patterns = [rows % 4 < 2, columns % 4 < 2, (rows + columns) % 4 < 2, rows < size // 2]
    images = np.stack([patterns[label] * 160.0 for label in labels])
    noisy = np.clip(images + rng.normal(40, 120, images.shape), 0, 255).astype(np.uint8)
    return noisy[:, None], labels


@functools.cache
def published_space(name: str, **options) -> ddpnas.SearchSpace:
    """Return a published space, which each test process makes once."""
    return ddpnas.create_space(name, **options)


@functools.cache
def published_costs(name: str, **options) -> dict:
    """Return the counted costs of a published space, which each test process counts once."""
    return ddpnas.count_costs(published_space(name, **options))


@pytest.fixture(scope="session")
def stripes() -> ddpnas.Data:
    """Return a task of 3 classes: 96 training, 24 validation, 30 test images of 1x8x8."""
    images, labels = striped_images(120)
    return ddpnas.make_data(
        (torch.from_numpy(images), torch.from_numpy(labels)),
        test=tuple(map(torch.from_numpy, striped_images(30, seed=1))),
        name="stripes",
        flip=False,
    )


@pytest.fixture(scope="session")
def small_space() -> ddpnas.SearchSpace:
    """Return NAS-Bench-201 at width 2 with one cell a stage, for the stripes."""
    return ddpnas.create_space(
        "nasbench201", channels=2, cells_per_stage=1, num_classes=3, input_shape=(1, 8, 8)
    )


@pytest.fixture(scope="session")
def exported_toy(tmp_path_factory) -> Path:
    """Return a folder that measures the latency of the toy space, for a moment; to be copied.

    Made by the first of the test processes that wants it.
    """
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "exported" / "toy"
    with FileLock(shared / "exported.lock"):
        if not folder.exists():
            quick = ddpnas.costs.LatencyConfig(
                architectures=4, seconds=0.001, rounds=1, most_rounds=1
            )
            export_latency(ddpnas.create_space("toy", width=64), folder, quick)
    return folder


@pytest.fixture
def measured_elsewhere(tmp_path, monkeypatch) -> Path:
    """Return the measurements of an export of the toy space; the times are made up."""
    monkeypatch.setattr(remote_latency, "export_probes", lambda *_: None)
    quick = ddpnas.costs.LatencyConfig(architectures=4, rounds=1, most_rounds=1)
    export_latency(ddpnas.create_space("toy", width=64), tmp_path / "exported", quick)
    manifest = json.loads((tmp_path / "exported" / "manifest.json").read_text())
    # Three operations, an empty call and four networks: whatever has more in it takes longer.
    times = {name: [[n, n + 1.0, n + 2.0, 9]] for n, name in enumerate(manifest["names"])}
    about = {"times": times, "measured_with": {"machine": "a phone", "onnxruntime": "1.0"},
             "date": "2026-01-01", "load": [None]}  # fmt: skip
    (tmp_path / "measurements.json").write_text(json.dumps(manifest | about))
    return tmp_path / "measurements.json"


@pytest.fixture
def counted_times(monkeypatch) -> None:
    """Let this machine take a millisecond for a million multiply-adds, and one for each call."""

    def counted(self, name: str) -> list[float]:
        run = self._run(self._plan.probes[name])
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
        return [*[1.0 + counter.get_total_flops() / 2e6] * 3, 5]

    monkeypatch.setattr(_timers._TorchTimer, "__call__", counted)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all that was imported, again and again."""
    gc.collect()
    gc.freeze()
