"""``ddpnas fit``: one command, its table, its JSON, and what it refuses."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddpnas.cli import main
from ddpnas.cli.fit import _within_half as within_half
from ddpnas.cli.parser import parse
from ddpnas.data import load_data
from ddpnas.generation.limits import Limit
from ddpnas.training.trained_folder import load

LIMIT = 200_000
NET = """
from torch import nn

def network(num_classes=5, input_shape=(3, 16, 16)):
    return nn.Sequential(nn.Conv2d(input_shape[0], 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, num_classes))
"""
PLAN = str(Path(__file__).parents[1] / "fitting" / "tiny_plan.json")


def photos(folder, least=0):
    """Write images of two classes as a folder."""
    pixels = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            one = pixels.integers(least + 100 * label, least + 100 * label + 80, (16, 16, 3))
            Image.fromarray(one.astype(np.uint8)).save(folder / name / f"{i}.png")


def test_one_command_leaves_a_network_and_says_where(tmp_path, capsys):
    out = str(tmp_path / "run")
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--out", out, "--export", "none"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "test accuracy" in said and "found" in said and "peak memory" in said
    assert f"ddpnas predict {out}" in said and f"ddpnas generate {out} --limit macs=" in said
    report = " ".join(re.sub("<[^>]+>", " ", Path(out, "report.html").read_text()).split())
    assert "ddpnas fit sign-digits-small --plan run/plan.json" in report
    assert "ddpnas train" not in report and "seed 0 for 2 epochs" in report
    assert main(["generate", out, "--limit", "macs=150K"]) == 0
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_what_was_best_when_a_fit_was_killed_says_what_its_figures_are(tmp_path, monkeypatch):
    out = tmp_path / "run"

    def kill(self, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt
        monkeypatch.setattr("ddpnas.fitting.best.BestSoFar.is_due", lambda self: True)

    monkeypatch.setattr("ddpnas.fitting.following.Following._tell_epoch", kill)
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--out", str(out), "--export", "none"]
    assert main(words) == 130
    best = load(out / "best")
    assert "trained on: the fit was not finished" in (out / "best" / "README.md").read_text()
    assert len(best.classes) == 10 and main(["report", str(out / "best")]) == 0


def test_an_interrupt_names_the_command_that_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "my net.py").write_text(NET)
    name, out, plan = f"{tmp_path / 'my net.py'}:network", tmp_path / "run", tmp_path / "plan.json"
    plan.write_text(json.dumps(json.loads(Path(PLAN).read_text()) | {"start": name}))

    def stop(self, record):
        raise KeyboardInterrupt

    words = ["fit", "sign-digits-small", "--plan", str(plan), "--start", name, "--out", str(out)]
    words += ["--json"]
    with monkeypatch.context() as patched:
        patched.setattr("ddpnas.fitting.following.Following._tell_epoch", stop)
        assert main([*words, "--export", "none"]) == 130
    _, _, command = capsys.readouterr().err.strip().partition("ddpnas resume ")
    assert shlex.split(command) == [str(out), "--network", name, "--json"]
    assert main(["resume", *shlex.split(command)]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(out)


def test_an_interrupt_before_the_plan_names_no_command(tmp_path, monkeypatch, capsys):
    def stop(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.fitting.request.FitRequest.reserve", stop)
    words = ["fit", "sign-digits-small", "--out", str(tmp_path / "run")]
    assert main(words) == 130
    (tmp_path / "run").mkdir()
    for name in ("plan.json", "run.json"):  # of a fit before
        (tmp_path / "run" / name).write_text(Path(PLAN).read_text())
    assert main([*words, "--overwrite"]) == 130
    assert "resume" not in capsys.readouterr().err


def test_loading_counts_in_a_resumed_fit_too(tmp_path, monkeypatch):
    given = []

    def resumed(folder, **options):
        given.append(options["started"])
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.cli.fit.resume_fit", resumed)
    monkeypatch.setattr("ddpnas.cli.fit.seconds_since", lambda: 7.0)
    (tmp_path / "plan.json").write_text(Path(PLAN).read_text())
    assert main(["resume", str(tmp_path)]) == 130
    assert given == [7.0]


@pytest.mark.parametrize("file", ["plan.json", "shrink.json"])
def test_what_only_a_search_can_be_resumed_with_is_refused(tmp_path, monkeypatch, capsys, file):
    (tmp_path / file).write_text(Path(PLAN).read_text())
    for option in (["--device", "cpu"], ["--space", "x.py:y"], ["--strategy", "z.py:q"]):
        assert main(["resume", str(tmp_path), *option]) == 2
        assert f"where {option[0]} does not apply; use --network" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["resume", str(tmp_path)]) == 2
    assert "runs in one process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "out"), [(".", "runs/in"), ("..", "runs/my-photos"), ("../in/", "runs/in")]
)
def test_the_default_folder_has_the_name_of_the_images(tmp_path, monkeypatch, data, out):
    (tmp_path / "my photos" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "my photos" / "in")
    asked = []

    def fit(data, limits, minutes, out, **options):
        asked.append(out)
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.cli.fit.fit_network", fit)
    assert main(["fit", data]) == 130
    assert asked == [out]


def test_json_is_all_that_is_printed(tmp_path, capsys):
    out = str(tmp_path / "run")
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--out", out, "--export", "none"]
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["costs"]["macs"] <= LIMIT and content["split"] == "test"
    assert content["folder"] == out
    assert main(["resume", out, "--quiet"]) == 0  # finished: its result again
    assert f"{100 * content['accuracy']:.2f} %" in capsys.readouterr().out
    assert main(["resume", out, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again.keys() == content.keys() and again["accuracy"] == content["accuracy"]


def test_the_next_commands_after_a_start_are_ones_that_work(tmp_path, capsys):
    (tmp_path / "my net.py").write_text(NET)
    out, plan = tmp_path / "run", tmp_path / "start.json"
    name = f"{tmp_path / 'my net.py'}:network"
    content = json.loads(Path(PLAN).read_text()) | {"start": name, "space_options": {}}
    content |= {"epochs": 1, "limits": {"macs": "200000", "params": "20000"}}
    plan.write_text(json.dumps(content))
    words = ["fit", "sign-digits-small", "--plan", str(plan), "--out", str(out), "--start", name]
    assert main([*words, "--export", "none"]) == 0
    report = " ".join(re.sub("<[^>]+>", " ", (out / "report.html").read_text()).split())
    assert "--plan run/plan.json --start &#39;my net.py:network" in report
    said = capsys.readouterr().out
    predict, shrink = (line.split(": ddpnas ")[1] for line in said.splitlines()[-2:])
    digits = load_data("sign-digits-small")
    Image.fromarray(digits.test.inputs[0].permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    assert main([*shlex.split(predict.replace(" IMAGE...", "")), str(tmp_path / "x.png")]) == 0
    assert "--data sign-digits-small --image-size 32 --limit macs=" in shrink
    assert "--limit params=20,000 " in shrink
    assert main([*shlex.split(shrink), "--candidates", "2", "--epochs", "1"]) == 0
    assert f"the smaller network is in {out}-small" in capsys.readouterr().out


def test_a_fit_that_started_from_a_network_remembers_where_its_images_moved(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "net.py").write_text(NET)
    name, out, plan = f"{tmp_path / 'net.py'}:network", tmp_path / "run", tmp_path / "plan.json"
    photos(tmp_path / "photos")
    photos(tmp_path / "others", least=1)
    content = json.loads(Path(PLAN).read_text()) | {"start": name, "space_options": {}}
    plan.write_text(json.dumps(content | {"data": None}))
    words = ["fit", str(tmp_path / "photos"), "--plan", str(plan), "--start", name]
    words += ["--out", str(out), "--export", "none"]

    def stop(self, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ddpnas.fitting.following.Following._tell_epoch", stop)
        assert main(words) == 130
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").rename(tmp_path / "elsewhere" / "photos")
    resume = ["resume", str(out), "--network", name]
    assert main([*resume, "--data", str(tmp_path / "others")]) == 2
    assert main([*resume, "--data", str(tmp_path / "elsewhere" / "photos")]) == 0
    assert main(["evaluate", str(out), "--network", name]) == 0
    (tmp_path / "elsewhere" / "photos").rename(tmp_path / "photos")
    assert main([*resume, "--data", str(tmp_path / "others")]) == 2
    assert "are not those that" in capsys.readouterr().err
    assert main([*resume, "--data", str(tmp_path / "photos")]) == 0
    assert main(["evaluate", str(out), "--network", name]) == 0


def test_without_test_images_nothing_is_called_a_test(tmp_path, capsys):
    digits = load_data("sign-digits-small")
    splits = {"train": digits.train.subset(range(0, 240, 2)), "valid": digits.valid}
    arrays = {
        f"{name}_{part}": getattr(split, source).numpy()
        for name, split in splits.items()
        for part, source in (("images", "inputs"), ("labels", "labels"))
    }
    np.savez(file := tmp_path / "digits.npz", **arrays)
    out = str(tmp_path / "run")
    assert main(["fit", str(file), "--plan", PLAN, "--out", out, "--export", "none"]) == 0
    said = capsys.readouterr().out
    assert "validation accuracy" in said and "validation images also chose" in said
    assert "test accuracy" not in said and " test images that" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere/"], "nowhere"),
        (["sign-digits-small", "--limit", "energy=3"], "unknown cost 'energy': known: "),
        (["sign-digits-small", "--limit", "macs"], "cannot read the limit"),
        (["sign-digits-small", "--minutes", "0"], "minutes"),
        (["sign-digits-small", "--minutes", "0.0001"], "too short"),
        (["sign-digits-small", "--baseline", "resnet"], "resnet18"),
        (["sign-digits-small", "--plan", "missing.json"], "missing.json"),
        (["sign-digits-small", "--export", "tflite"], "onnx"),
        (["sign-digits-small", "--metric", "f1"], "macro-f1"),
        (["sign-digits-small", "--class-weights", "1"], "balanced"),
        ([], "DATA"),
    ],
)
def test_bad_input_is_one_sentence(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.startswith("ddpnas: ") and said.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_time_of_a_process_counts_whole_and_the_file_is_checked(tmp_path):
    out = tmp_path / "run"
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--out", str(out), "--json"]
    command = [sys.executable, "-m", "ddpnas", *words]
    begun = time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    passed = time.perf_counter() - begun
    content = json.loads(ended.stdout)
    seconds = content["seconds"]
    total = seconds.pop("total")
    # From the start of the process, which the system notes to a second.
    assert 0 < sum(seconds.values()) <= total + 1e-6 and total < passed + 1
    assert seconds.keys() >= {"plan", "race", "training", "export", "report"}
    assert content["costs"]["macs"] <= LIMIT
    assert (out / "net.onnx").is_file() and (out / "report.html").is_file()


@pytest.mark.slow
def test_a_plan_gives_the_same_weights_in_every_process(tmp_path):
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--export", "none", "--quiet", "--out"]
    weights = []
    for seed in "12":  # of the hashes of texts, by which Python orders sets
        command = [sys.executable, "-m", "ddpnas", *words, str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        weights.append((tmp_path / seed / "trained" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def another_limit(said):
    """Return the words of the command for another limit; nothing if none is named."""
    found = re.search(r"^another limit: ddpnas (.*)$", said, re.MULTILINE)
    return [] if found is None else shlex.split(found[1])


def test_without_a_race_another_limit_takes_a_fit_that_is_asked_for_the_same(tmp_path, capsys):
    teacher, out, plan = tmp_path / "teacher", tmp_path / "my run", tmp_path / "plan.json"
    content = json.loads(Path(PLAN).read_text())
    content["strategy_options"] |= {"candidates": 1, "rungs": 1}
    words = ["fit", "sign-digits-small", "--plan", str(plan), "--export", "none"]
    plan.write_text(json.dumps(content))
    assert main([*words, "--out", str(teacher)]) == 0
    said = capsys.readouterr().out
    assert "best of the race" not in said
    small, macs = str(teacher) + "-small", another_limit(said)[3]
    plain = ["fit", "sign-digits-small", "--limit", macs, "--device", "cpu", "--export", "none"]
    assert another_limit(said) == [*plain, "--out", small] and re.fullmatch(r"macs=[\d.]+K", macs)
    content |= {"limits": {"macs": "1000..200000", "params": "100..40000"}, "seed": 3}
    content |= {"seconds": 28.8, "sieve": "dynamics", "sieve_options": {"keep": 0.5}}
    content["evaluator_options"]["metric"] = "macro-f1"
    content["recipe"]["class_weights"] = "balanced"
    plan.write_text(json.dumps(content | {"teacher": str(teacher)}))
    assert main([*words, "--image-size", "32", "--out", str(out)]) == 0
    command = another_limit(capsys.readouterr().out)
    macs = command[3]
    given = """--minutes 0.48 --image-size 32 --metric macro-f1 --class-weights balanced --sieve
        dynamics --sieve-options.keep 0.5 --seed 3 --device cpu --export none --teacher"""
    wanted = ["fit", "sign-digits-small", "--limit", macs, "--limit", "params=100..40,000"]
    _, options = parse([*wanted, *given.split(), str(teacher), "--out", f"{out}-small"])
    assert parse(command)[1] == options


def test_after_a_race_the_next_command_keeps_the_other_limits(tmp_path, capsys):
    out, plan = tmp_path / "run", tmp_path / "plan.json"
    limits = {"macs": "200000", "params": "20000"}
    plan.write_text(json.dumps(json.loads(Path(PLAN).read_text()) | {"limits": limits}))
    words = ["fit", "sign-digits-small", "--plan", str(plan), "--out", str(out)]
    assert main([*words, "--export", "none"]) == 0
    command = another_limit(capsys.readouterr().out)
    assert command[:2] == ["generate", str(out)] and "params=20,000" in command
    assert main(command) == 0
    peak = Limit.parse("60K")
    fitted = SimpleNamespace(
        costs={"macs": 1000.0, "params": 10.0}, limits={"peak_activation_bytes": peak}, search=1,
        trained=SimpleNamespace(data=load_data("sign-digits-small")), named=None,
    )  # fmt: skip
    (out / "latency.json").write_text("{}")
    timed = {**vars(fitted), "limits": {"latency_ms": Limit.parse("0.5")}}
    command = within_half(SimpleNamespace(**timed), str(out))
    assert command[-4:] == ["--limit", "latency_ms=0.5", "--costs", str(out / "latency.json")]
    command = within_half(fitted, str(out))  # what no table has, generate cannot keep
    assert command[0] == "fit" and "peak_activation_bytes=60,000" in command


def test_after_a_start_from_a_searched_network_no_other_limit_is_named(tmp_path, capsys):
    out, plan = tmp_path / "run", tmp_path / "plan.json"
    words = ["fit", "sign-digits-small", "--plan", PLAN, "--out", str(out), "--export", "none"]
    assert main(words) == 0
    content = json.loads(Path(PLAN).read_text()) | {"start": str(out), "space_options": {}}
    plan.write_text(json.dumps(content))
    assert main([*words[:3], str(plan), "--out", str(tmp_path / "next"), "--export", "none"]) == 0
    said = capsys.readouterr().out.rpartition("architecture: ")[2]
    assert "next: ddpnas predict" in said and another_limit(said) == []
