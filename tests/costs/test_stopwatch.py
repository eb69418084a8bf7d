"""Rounds of timings: what is repeated, what is kept, and that the file runs alone."""

import ast
import itertools
import json
from pathlib import Path

import pytest

from ddpnas.costs import stopwatch

SETTINGS = {"rounds": 2, "most_rounds": 6, "spread": 0.05, "minutes": 5.0}


def timed(series, kept=None, stop_after=None):
    """Measure things whose medians in each round are given; return what is kept and the calls."""
    kept = {} if kept is None else kept
    calls, saved = [], []

    def time_once(name):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(name)
        median = series[name][len(kept[name])]
        return [median, median, median, 10]

    stopwatch.measure(
        list(series), time_once, kept, SETTINGS, lambda: saved.append(1), lambda *args: None
    )
    assert len(saved) == len(calls)
    return kept, calls


STEADY, LATE, NEVER = [1.0] * 6, [9.0, 7.0, 5.0, 3.0, 3.1, 0.0], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]


def test_everything_is_timed_in_turn_and_again_until_it_settles():
    kept, calls = timed({"steady": STEADY, "late": LATE, "never": NEVER})
    assert calls[:4] == ["steady", "late", "never", "steady"]
    assert [len(kept[n]) for n in ("steady", "late", "never")] == [2, 5, 6]


@pytest.mark.parametrize("stop_after", range(13))
def test_an_interrupted_measurement_ends_as_the_unbroken_one(stop_after):
    series = {"steady": STEADY, "late": LATE, "never": NEVER}
    kept = {}
    with pytest.raises(KeyboardInterrupt):
        timed(series, kept, stop_after)
    assert timed(series, kept)[0] == timed(series)[0]


def test_quartiles_and_their_summary():
    assert stopwatch.quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == [2.0, 3.0, 4.0, 5]
    rounds = [[1.0, 4.0, 5.0, 5], [2.0, 3.0, 5.0, 6], [9.0, 9.0, 9.0, 7]]
    assert stopwatch.summary(rounds) == {
        "median_ms": 3.0,
        "iqr_ms": 3.0,
        "times": 6,
        "rounds": 3,
    }


def test_one_round_is_never_settled_and_slow_ones_do_not_count():
    low, near, slow = [0.9, 1.0, 1.2, 9], [0.9, 1.04, 1.2, 9], [7.0, 8.0, 9.0, 9]
    scattered = [0.9, 1.0, 8.0, 9]
    assert not stopwatch.settled([low], 0.05)
    assert not stopwatch.settled([low, slow], 0.05)
    assert stopwatch.settled([near, slow, slow, low], 0.05)
    assert not stopwatch.settled([scattered, near], 0.05)


def test_a_device_that_is_not_there_is_not_replaced_by_another():
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one here")
    with pytest.raises(stopwatch.CannotRunError, match="CUDAExecutionProvider here; it has"):
        stopwatch.OnnxTimer(Path(), "cuda", 1, 0.1)


def test_what_a_gpu_measured_names_the_gpu(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    settings = {**SETTINGS, "device": "cuda", "threads": 1, "seconds": 0.1}
    (tmp_path / "manifest.json").write_text(json.dumps({"names": ["a"], "settings": settings}))
    told = tmp_path / "nvidia-smi"
    told.write_text("#!/bin/sh\necho NVIDIA H200\n")
    told.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(stopwatch, "__file__", str(tmp_path / "measure.py"))
    monkeypatch.setattr(stopwatch, "OnnxTimer", lambda *given: lambda name: [1.0, 1.0, 1.0, 10])
    for name in ("NVIDIA H200", f"a GPU next to {stopwatch.processor()}"):
        stopwatch.main()
        measured = json.loads((tmp_path / "measurements.json").read_text())
        assert measured["measured_with"]["machine"] == name
        told.write_text("#!/bin/sh\nexit 9\n")


def test_a_script_that_has_taken_its_minutes_times_no_further_rounds(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    settings = {**SETTINGS, "device": "cpu", "threads": 1, "seconds": 0.1, "minutes": 0}
    (tmp_path / "manifest.json").write_text(json.dumps({"names": ["a"], "settings": settings}))
    monkeypatch.setattr(stopwatch, "__file__", str(tmp_path / "measure.py"))
    times = itertools.count(1)
    monkeypatch.setattr(
        stopwatch, "OnnxTimer", lambda *given: lambda name: [1.0, float(next(times)), 9.0, 10]
    )
    stopwatch.main()
    measured = json.loads((tmp_path / "measurements.json").read_text())
    assert len(measured["times"]["a"]) == SETTINGS["rounds"] < SETTINGS["most_rounds"]


def test_arm_machines_with_other_cores_have_other_names(monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "aarch64")
    names = []
    for part in ("0xd08", "0xd0c"):
        told = f"processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
        monkeypatch.setattr(Path, "read_text", lambda path, told=told: 2 * told)
        names.append(stopwatch.processor())
    assert names[0] == "aarch64, CPU implementer : 0x41, CPU part : 0xd08" != names[1]


def test_the_file_is_python_3_8_and_imports_only_numpy_and_onnxruntime():
    tree = ast.parse(Path(stopwatch.__file__).read_text(), feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = set(
        itertools.chain.from_iterable(
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for node in imports
        )
    )
    standard = {"__future__", "json", "os", "platform", "subprocess", "sys", "time"}
    assert names <= standard | {"collections.abc", "pathlib", "typing", "numpy", "onnxruntime"}
