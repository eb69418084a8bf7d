"""``ddpnas latency``: measured here, exported and imported, and checked against a run."""

import json
import shutil
import subprocess
import sys

import pytest

from ddpnas import CostTable, count_costs, create_space
from ddpnas.cli import main

QUICK = ["--architectures", "4", "--seconds", "0.001", "--rounds", "1", "--most-rounds", "1"]
TOY = ["--space", "toy", "--space-options.width", "64"]


def refused(capsys, *words):
    """Return the sentence a wrong command ends with."""
    capsys.readouterr()
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("ddpnas: ") and printed.err.count("\n") == 1
    return printed.err


def test_measure_prints_how_far_off_the_table_is_and_writes_it(capsys, tmp_path):
    out = tmp_path / "new" / "table.json"
    assert main(["latency", *TOY, *QUICK, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "round 1: 8 of 8" in printed and "torch, batch 1, 1 thread" in printed
    assert "left out of the fit" in printed and "Kendall's tau" in printed
    table = CostTable.load(out)
    assert table.about["check"]["architectures"] == 4
    [row] = [line for line in printed.splitlines() if "the default --margin" in line]
    assert f"{100 * table.margin:.1f} %" in row
    assert list(out.parent.iterdir()) == [out]
    main(["latency", *TOY, *QUICK, "--out", str(out), "--quiet"])
    assert "round" not in capsys.readouterr().out


@pytest.mark.parametrize("action", [[], ["import", "measurements.json"]])
def test_a_folder_is_refused_before_anything_is_measured(capsys, tmp_path, monkeypatch, action):
    monkeypatch.setattr("ddpnas.cli.latency.measure_latency", pytest.fail)
    monkeypatch.chdir(tmp_path)
    for folder in (str(tmp_path), "."):
        says = refused(capsys, "latency", *action, *TOY, "--out", folder)
        assert "is a folder; give a file, such as --out" in says
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_cannot_begin_leaves_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = tmp_path / "new" / "table.json"
    says = refused(capsys, "latency", *TOY, "--device", "cuda", "--out", str(out))
    assert "no CUDA device" in says and list(tmp_path.iterdir()) == []
    out.parent.mkdir()
    refused(capsys, "latency", *TOY, "--device", "cuda", "--out", str(out))
    assert list(tmp_path.rglob("*")) == [out.parent]


def test_check_compares_a_runs_network_with_the_table(capsys, tmp_path):
    run = tmp_path / "run"
    small = ["--space-options.channels", "2", "--space-options.cells-per-stage", "1"]
    main(["search", "--data", "sign-digits-small", *small, "--space", "nasbench201",
          "--strategy", "random", "--strategy-options.evaluations", "4", "--evaluator", "table",
          "--device", "cpu", "--quiet", "--out", str(run)])  # fmt: skip
    main(["latency", "--run", str(run), *QUICK])
    capsys.readouterr()
    file = run / "latency.json"
    file.rename(run / "kept.json")
    assert f"(ddpnas latency --run {run})" in refused(capsys, "latency", "check", str(run))
    (run / "kept.json").rename(file)
    assert main(["latency", "check", str(run)]) == 0
    searched = capsys.readouterr().out
    assert "architecture: |" in searched and "predicted" in searched and "measured" in searched
    main(["generate", str(run), "--limit", "macs=200K"])
    capsys.readouterr()
    table = str(run / "latency.json")
    assert main(["latency", "check", str(run), "--table", table]) == 0
    text = json.loads((run / "generated.json").read_text())["text"]
    assert text in capsys.readouterr().out
    kept = json.loads((run / "latency_check.json").read_text())
    assert kept["text"] == text
    assert kept["error_percent"] == pytest.approx(
        100 * (kept["predicted_ms"] / kept["measured_ms"] - 1)
    )
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    assert "Latency, predicted and measured" in (tmp_path / "report.html").read_text()
    wide = ["--space-options.channels", "4"]
    assert "belongs to another network: channels 2 instead of 4" in refused(
        capsys, "latency", "check", str(run), *wide
    )


def test_times_of_another_machine_are_imported(capsys, measured_elsewhere, tmp_path):
    out = str(tmp_path / "table.json")
    assert main(["latency", "import", str(measured_elsewhere), "--out", out]) == 0
    assert "onnxruntime, batch 1, 1 thread" in capsys.readouterr().out
    CostTable.load(out).check(create_space("toy", width=64))


@pytest.mark.slow
def test_export_and_import_make_the_table_of_another_machine(capsys, exported_toy, tmp_path):
    folder = shutil.copytree(exported_toy, tmp_path / "there")
    (folder / "network-3.onnx").unlink()  # an export that was interrupted
    assert main(["latency", "export", *TOY, *QUICK, "--out", str(folder)]) == 0
    assert "python measure.py" in capsys.readouterr().out
    subprocess.run(
        [sys.executable, "-I", str(folder / "measure.py")], check=True, capture_output=True
    )
    measurements, out = str(folder / "measurements.json"), str(tmp_path / "table.json")
    assert main(["latency", "import", measurements, "--out", out]) == 0
    assert "onnxruntime, batch 1, 1 thread" in capsys.readouterr().out
    space = create_space("toy", width=64)
    CostTable.load(out).check(space)
    assert CostTable.load(out).terms.keys() <= count_costs(space)["macs"].terms.keys()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--space", "toy"], "needs --out"),
        (["--out", "t.json"], "needs --space"),
        (["exprt", "--space", "toy"], "did you mean 'export'"),
        (["import", "--out", "t.json"], "takes the file of measurements, not nothing"),
        (["export", "a", "--space", "toy", "--out", "b"], "takes no file, not a"),
        (["import", "nowhere.json", "--out", "t.json"], "nowhere.json"),
        (["check", "nowhere", "--table", "nowhere.json"], "there is no run folder nowhere"),
        (["--space", "toy", "--out", "t.json", "--table", "t"], "latency` does not take --table"),
        (["export", "--space", "toy", "--out", "b", "--table", "t"], "does not take --table"),
        (["check", "run", "--run", "run"], "latency check` does not take --run"),
        (["check", "run", "--threads", "4"], "--threads; it is as it was when the table was meas"),
        (
            ["import", "m.json", "--out", "t.json", "--most-rounds", "4"],
            "does not take --most-rounds; it is as it was when the files were exported",
        ),
        (["--space", "toy", "--thread", "2", "--out", "t.json"], "did you mean '--threads'"),
        (["--space", "toy", "--out", "t.json", "--architectures", "2"], "from 4 to 100,000, not 2"),
    ],
)
def test_a_wrong_command_gets_one_sentence(capsys, words, says):
    assert says in refused(capsys, "latency", *words)
