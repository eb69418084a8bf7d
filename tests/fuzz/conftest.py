"""What the fuzzers share: small folders to damage, and a way to run a command within bounds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

import ddpnas
from ddpnas.cli import main
from ddpnas.costs import CostTable
from ddpnas.errors import DdpnasError
from ddpnas.runs import Run
from ddpnas.training import save_networks

# `make fuzz` sets it: that many times the examples, and other ones each time.
LONGER = int(os.environ.get("FUZZ", "1"))


def bounded(examples: int) -> settings:
    """Return the settings of a fuzzer."""
    return settings(max_examples=examples * LONGER, suppress_health_check=list(HealthCheck))


class HangError(BaseException):
    """A call took too long. No handler of errors catches it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise HangError inside after so many seconds, even while a system call waits."""

    def stop(*_: object) -> None:
        raise HangError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(function: Callable[[], object], seconds: float = 60) -> None:
    """Call a function, which must end in time: with a result, or with one sentence for the user."""
    with within(seconds):
        try:
            function()
        except DdpnasError as error:
            assert str(error) and "\n" not in str(error), error


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    error: str


def command(words: Sequence[str], seconds: float = 180) -> Ended:
    """Run a command in this process; it must end in time with a code that commands may have."""
    # As a terminal: text that UTF-8 cannot hold must not reach it.
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    error = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), within(seconds):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:  # --help and --version
            code = int(end.code or 0)
    out.seek(0), error.seek(0)
    ended = Ended(code, out.read(), error.read())
    assert ended.code in (0, 2), ended
    if ended.code == 2:
        last = ended.error.rstrip("\n").rpartition("\n")[2]
        assert last.startswith("ddpnas: ") and len(last) > 20, ended
    assert "Traceback" not in ended.error, ended
    return ended


@dataclass(frozen=True)
class Folders:
    """Small folders as the commands write them, and what they are made of."""

    run: Path  # finished, with generated.json, latency.json and latency_check.json
    unfinished: Path
    trained: Path
    table: Path
    measurements: Path
    image: Path


@pytest.fixture(scope="session")
def folders(tmp_path_factory, stripes, small_space, exported_toy) -> Folders:
    """Return the folders; tests damage copies."""
    base = tmp_path_factory.mktemp("whole")
    quick = {"evaluator": "table", "strategy_options": {"cycles_per_stage": 1, "draws": 20}}
    tables = base / "tables"
    tables.mkdir()
    run, unfinished, trained = base / "run", base / "unfinished", base / "trained"
    data = ddpnas.load_data("sign-digits-small")
    shape = {"num_classes": 10, "input_shape": (3, 32, 32)}
    space = ddpnas.create_space("nasbench201", channels=2, cells_per_stage=1, **shape)
    ddpnas.search(space, data, out=run, **quick)

    def stop(progress):
        if progress.done == 7:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        ddpnas.search(space, data, out=unfinished, on_progress=stop, **quick)
    table = ddpnas.count_costs(space)["params"]
    terms = {choices: cost / 1e6 for choices, cost in table.terms.items()}
    about = {**table.about, "backend": "torch", "batch": 1, "threads": 1, "machine": "this"}
    check = {"architectures": 1, "mape_percent": 1.0, "worst_percent": 2.0, "networks": [
        {"architecture": "x", "predicted_ms": 1.0, "median_ms": 1.1, "iqr_ms": 0.1}]}  # fmt: skip
    table = CostTable("latency_ms", "ms", 1.0, terms, {**about, "check": check})
    table.save(run / "latency.json")
    table = CostTable("energy", "mJ", 1.0, terms)
    table.save(tables / "energy.json")
    assert main(["generate", str(run), "--limit", "macs=1M", "--top", "3"]) == 0
    found = Run(run)
    measured = {"predicted_ms": 1.0, "measured_ms": 1.1, "iqr_ms": 0.1, "error_percent": -9.0}
    chosen = {
        "architecture": dict(found.chosen.architecture),
        "text": found.chosen.text,
        "space_options": space.plain_options,
    }
    found.write("latency_check.json", {**chosen, **measured})
    architecture = small_space.sample(np.random.default_rng(0))
    networks = ddpnas.compare(small_space, architecture, stripes, epochs=1, device="cpu")
    save_networks(trained, small_space, networks)
    image = base / "one.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    manifest = json.loads((exported_toy / "manifest.json").read_text())
    times = {name: [[1.0, 1.1, 1.2, 5]] for name in manifest["names"]}
    measured_with = {"machine": "that", "onnxruntime": "1"}
    manifest |= {
        "measured_with": measured_with,
        "times": times,
        "date": "today",
        "load": [0.1, 0.2],
    }
    measurements = tables / "measurements.json"
    measurements.write_text(json.dumps(manifest))
    return Folders(run, unfinished, trained, tables / "energy.json", measurements, image)
