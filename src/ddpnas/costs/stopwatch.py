"""Times things round after round until two rounds agree; here or alone on another machine.

Within ddpnas this is an ordinary module. ``ddpnas latency export`` copies it next to ONNX files as
``measure.py``, a script that needs nothing but Python 3.8, NumPy and onnxruntime:

    python measure.py            # writes measurements.json; continues if it was interrupted

In a round everything runs for a while in turn, so that a slow moment of the machine is shared. The
quartiles of each round's times are kept, in milliseconds.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "manifest.json"
RESULT = "measurements.json"


def measure(
    names: Sequence[str],
    time_once: Callable[[str], list[float]],
    kept: dict[str, list[list[float]]],
    settings: dict[str, Any],
    save: Callable[[], object],
    progress: Callable[[int, int, int], object],
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Time everything until each median is settled, into ``kept``.

    Args:
        names: What is timed.
        time_once: Name -> quartiles of one round.
        kept: Name -> quartiles of the rounds so far; extended in place.
        settings: "rounds" in which everything is timed, "most_rounds" for what has not settled,
            and "spread", see :func:`settled`.
        save: Called after each timing.
        progress: Called after each timing with the round, the number of timings in it so far, and
            their total.
        enough: Whether the time is over: then nothing is timed that has its ``rounds``.
    """
    for number in range(1, settings["most_rounds"] + 1):
        if number > settings["rounds"] and enough():
            return
        todo = [
            name
            for name in names
            if number <= settings["rounds"] or not settled(kept[name], settings["spread"])
        ]
        for i, name in enumerate(todo, 1):
            if len(kept.setdefault(name, [])) < number:
                kept[name].append(time_once(name))
                save()
            progress(number, i, len(todo))


def settled(rounds: Sequence[Sequence[float]], spread: float) -> bool:
    """Return whether the two fastest rounds agree and the fastest was quiet.

    They agree if their medians differ by at most ``spread`` of the lower one. The fastest was quiet
    if its interquartile range is below its median; it is far above while other processes take
    turns.

    Args:
        rounds: Quartiles of each round.
        spread: Largest relative difference of the medians.

    Example:
        >>> settled([[0.9, 1.0, 1.1, 5], [0.9, 1.02, 1.1, 5]], spread=0.05)
        True
    """
    if len(rounds) < 2:
        return False
    first, second = sorted(rounds, key=lambda round_: round_[1])[:2]
    return second[1] <= (1 + spread) * first[1] and first[2] - first[0] <= first[1]


def quartiles(times: Sequence[float]) -> list[float]:
    """Return [lower quartile, median, upper quartile, number] of times.

    Example:
        >>> quartiles([1.0, 2.0, 3.0])
        [1.5, 2.0, 2.5, 3]
    """
    return [*(float(f"{q:.6g}") for q in np.percentile(times, [25, 50, 75])), len(times)]


def summary(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the median and interquartile range of the fastest round, and the number of rounds.

    Other work on the machine makes things slower and never faster: the round of the lowest median
    was disturbed least.

    Example:
        >>> summary([[1.0, 2.0, 3.0, 9], [0.5, 1.0, 1.5, 9]])
        {'median_ms': 1.0, 'iqr_ms': 1.0, 'times': 9, 'rounds': 2}
    """
    lower, middle, upper, times = min(rounds, key=lambda round_: round_[1])
    return {
        "median_ms": middle,
        "iqr_ms": float(f"{upper - lower:.6g}"),
        "times": int(times),
        "rounds": len(rounds),
    }


class CannotRunError(Exception):
    """The device is not there for onnxruntime; the message says what is."""


class OnnxTimer:
    """Times the ONNX files of a folder.

    Args:
        folder: Folder of the files NAME.onnx.
        device: "cpu" or "cuda".
        threads: Number of threads of one operation.
        seconds: How long a file runs in a round, after a warm-up of a tenth of that.

    Raises:
        CannotRunError: The device is missing.
    """

    def __init__(self, folder: Path, device: str, threads: int, seconds: float) -> None:
        import onnxruntime

        self._runtime = onnxruntime
        self._folder, self._seconds = folder, seconds
        self._provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
        if self._provider not in onnxruntime.get_available_providers():
            self._refuse()
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3

    def __call__(self, name: str) -> list[float]:
        """Return the quartiles of one round."""
        session = self._runtime.InferenceSession(
            str(self._folder / f"{name}.onnx"), self._options, providers=[self._provider]
        )
        if self._provider not in session.get_providers():  # it would fall back to the CPU
            self._refuse()
        rng = np.random.RandomState(0)
        feeds = {given.name: _array(given, rng) for given in session.get_inputs()}
        _run_for(session, feeds, self._seconds / 10)
        return quartiles(_run_for(session, feeds, self._seconds))

    def _refuse(self) -> None:
        there = ", ".join(self._runtime.get_available_providers())
        raise CannotRunError(f"onnxruntime cannot use {self._provider} here; it has {there}")


def _array(given: Any, rng: np.random.RandomState) -> Any:
    if given.type == "tensor(float)":
        return rng.standard_normal(given.shape).astype(np.float32)
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
    return np.zeros(given.shape, kinds[given.type])


def _run_for(session: Any, feeds: dict[str, Any], seconds: float) -> list[float]:
    """Return the milliseconds of each run, of at least five."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        started = time.perf_counter()
        session.run(None, feeds)
        times.append(1000 * (time.perf_counter() - started))
    return times


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    # On ARM there is no name, and every machine would be called "aarch64"; its cores have numbers.
    numbers = ("CPU implementer", "CPU part")
    cores = {" ".join(line.split()) for line in lines if line.startswith(numbers)}
    unnamed = ", ".join([platform.processor() or platform.machine(), *sorted(cores)])
    return names[0] if names else unnamed


def graphics_card() -> str:
    """Return the name of this machine's first GPU, as its driver tells it."""
    ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return "a GPU next to " + processor()
    return told.strip()


def load() -> float | None:
    """Return the average number of processes ready to run in the last minute, if known."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def write_json(path: Path, data: Any) -> None:
    """Write the file whole or not at all; where it cannot be written, end with a sentence."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w") as stream:
            json.dump(data, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        sys.exit(f"{path} cannot be written ({error.strerror}); run this again once it can")


def main() -> None:
    """Time the files next to this script and write the measurements."""
    import onnxruntime

    folder = Path(__file__).resolve().parent
    manifest = json.loads((folder / MANIFEST).read_text())
    settings = manifest["settings"]
    about = {
        "machine": graphics_card() if settings["device"] == "cuda" else processor(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    result = dict(manifest, measured_with=about, times={})
    target, partial = folder / RESULT, folder / (RESULT + ".part")
    if partial.exists():
        before = json.loads(partial.read_text())
        if dict(before, times={}) != result:
            sys.exit(f"{partial} is of another machine or export; remove it to start again")
        result = before
    busy, started = [load()], time.perf_counter()
    try:
        timer = OnnxTimer(folder, settings["device"], settings["threads"], settings["seconds"])
    except CannotRunError as error:
        sys.exit(str(error))
    measure(
        manifest["names"],
        timer,
        result["times"],
        settings,
        lambda: write_json(partial, result),
        lambda number, i, count: print(f"round {number}: {i} of {count}", flush=True),
        lambda: time.perf_counter() - started > 60 * settings["minutes"],
    )
    busy.append(load())
    write_json(target, dict(result, date=time.strftime("%Y-%m-%d"), load=busy))
    if partial.exists():
        partial.unlink()
    print(f"wrote {target}; next, with ddpnas: ddpnas latency import {RESULT} --out table.json")


if __name__ == "__main__":
    main()
