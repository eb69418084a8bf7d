"""Kills, power cuts and full disks: after any of them the same command ends as if unbroken.

Each command is interrupted in its operations on files, one after another; then it is run again
without a fault, and what it leaves is compared with what an unbroken one leaves.
"""

import json
import random
import shutil
from pathlib import Path

import pytest

import ddpnas
from ddpnas.utils.files import NO_TEMPORARY
from tests.interrupted import Fault, run

pytestmark = pytest.mark.slow

SEARCH = [
    "search", "--data", "sign-digits-small", "--space", "nasbench201", "--evaluator", "table",
    "--space-options.channels", "2", "--space-options.cells-per-stage", "1", "--device", "cpu",
    "--strategy-options.cycles-per-stage", "1", "--strategy-options.draws", "20", "--quiet",
]  # fmt: skip
# A new network begins after each four epochs; the logits learn in the last two of them.
MIXTURE = [
    "search", "--data", "sign-digits-small", "--limit-train-images", "100", "--space", "toy",
    "--strategy", "pdarts", "--strategy-options.epochs", "12", "--device", "cpu", "--quiet",
    "--strategy-options.batch-size", "50", "--strategy-options.alpha-lr", "0.1",
]  # fmt: skip
TRAIN = ["--epochs", "2", "--random", "1", "--patience", "2", "--device", "cpu", "--quiet"]
TINY_FIT = str(Path(__file__).parent / "fitting" / "tiny_plan.json")
START_FIT = str(Path(__file__).parent / "fitting" / "tiny_start_plan.json")
SHRUNK = f"{Path(__file__).parent / 'shrinking' / 'tiny_network.py'}:network"
SHRINK = [
    "shrink", SHRUNK, "--data", "sign-digits-small", "--limit", "macs=60%", "--image-size", "8",
    "--limit-train-images", "200", "--epochs", "2", "--head-epochs", "1", "--candidates", "2",
    "--device", "cpu", "--quiet",
]  # fmt: skip
MOMENTS = 4  # of a command in which it is interrupted


def timeless(value):
    """Return plain data without what another run measures anew."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def read(path):
    """Return the content of a JSON or .jsonl file without its times."""
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return timeless(json.loads(path.read_text()))


def search_left(folder):
    return [read(folder / n) for n in ("history.jsonl", "distributions.jsonl", "result.json")]


def training_left(folder):
    weights = (folder / "model.safetensors").read_bytes()
    return weights, read(folder / "result.json"), read(folder / "architecture.json")


def generated_left(folder):
    return read(folder / "generated.json")


def report_left(folder):
    return (folder / "report.html").exists(), {p.name for p in (folder / "report-data").iterdir()}


def exported_left(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith("net.pt2")]


def fit_left(folder):
    return read(folder / "history.jsonl"), training_left(folder / "trained")


def usable(folder):
    """Check that a fit has a network that can be loaded, once it has scored or trains one."""
    if not (folder / "plan.json").exists():
        return
    history = folder / "history.jsonl"
    scored = len(read(history)) if history.exists() else 0
    trains = (folder / "trained" / "training" / "start").exists()
    kept = any((folder / name).exists() for name in ("best", "best.old"))
    if scored > 1 or trains or kept:
        assert ddpnas.load(folder / "best", model=SHRUNK).classes


def shrink_left(folder):
    scores = sorted(map(str, read(folder / "scores.jsonl")))
    return scores, training_left(folder / "trained"), (folder / "net.onnx").exists()


def again_shrink(folder):
    if not (folder / "shrink.json").exists():
        return None
    return ["resume", str(folder), "--network", SHRUNK, "--quiet"]


def benchmark_left(folder):
    names = ("trials.csv", "summary.csv", "regret.csv")
    return [(folder / n).read_text() for n in names], (folder / "regret.png").exists()


def latency_left(folder):
    assert {p.name for p in folder.iterdir() if p.name.startswith("table")} == {"table.json"}
    return [term["choices"] for term in json.loads((folder / "table.json").read_text())["terms"]]


def again_search(folder):
    return ["resume", str(folder), "--quiet"] if (folder / "run.json").exists() else None


def again_fit(folder):
    return ["resume", str(folder), "--quiet"] if (folder / "run.json").exists() else None


def again_start(folder):
    if not (folder / "plan.json").exists():
        return None
    return ["resume", str(folder), "--network", SHRUNK, "--quiet"]


def again_training(folder):
    done = (folder / "trained" / "architecture.json").exists()
    return [] if done else ["train", str(folder), *TRAIN, "--resume"]


# Name: words with {} for the folder, what it needs there, what it leaves, and how it goes on
# (None for the same words, [] if nothing is left to do).
COMMANDS = {
    "search": ([*SEARCH, "--out", "{}"], None, search_left, again_search),
    "search by a mixture": ([*MIXTURE, "--out", "{}"], None, search_left, again_search),
    "search --overwrite": (
        [*SEARCH, "--out", "{}", "--overwrite"], "trained", search_left, lambda folder: None,
    ),
    "fit": (["fit", "sign-digits-small", "--plan", TINY_FIT, "--export", "none", "--quiet", "--out",
             "{}"], None, fit_left, again_fit),
    "fit --start": (["fit", "sign-digits-small", "--plan", START_FIT, "--start", SHRUNK, "--export",
                     "none", "--quiet", "--out", "{}"], None,
                    lambda f: training_left(f / "trained"), again_start),
    "shrink": ([*SHRINK, "--out", "{}"], None, shrink_left, again_shrink),
    "train": (["train", "{}", *TRAIN], "searched", lambda f: training_left(f / "trained"),
              again_training),
    "train --overwrite": (
        ["train", "{}", *TRAIN, "--overwrite"], "trained", lambda f: training_left(f / "trained"),
        lambda folder: None,
    ),
    "generate --rescore": (
        ["generate", "{}", "--limit", "params=20K", "--rescore", "3", "--device", "cpu"],
        "searched", generated_left, lambda folder: None,
    ),
    "report": (["report", "{}"], "trained", report_left, lambda folder: None),
    "export": (["export", "{}", "--torch-export", "{}/net.pt2"], "trained", exported_left,
               lambda folder: None),
    "benchmark": (
        ["benchmark", "nasbench-macro", "--strategies", "random", "--seeds", "1", "--budget", "2",
         "--workers", "1", "--out", "{}"], None, benchmark_left,
        lambda folder: [] if (folder / "experiment.json").exists() else None,
    ),
    "latency": (
        ["latency", "--space", "toy", "--out", "{}/table.json", "--architectures", "4", "--seconds",
         "0.001", "--rounds", "1", "--most-rounds", "1", "--quiet"], None, latency_left,
        lambda folder: None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return the folders of a finished search, and of one whose network was trained."""
    base = tmp_path_factory.mktemp("prepared")
    assert run([*SEARCH, "--out", str(base / "searched")], base / "searched").code == 0
    shutil.copytree(base / "searched", base / "trained")
    assert run(["train", str(base / "trained"), *TRAIN], base / "trained").code == 0
    return base


@pytest.fixture(scope="module")
def unbroken(prepared, tmp_path_factory):
    """Return what gives a command's folder and operations when nothing interrupts it."""
    known = {}

    def of(name):
        if name not in known:
            words, needs, left, _ = COMMANDS[name]
            folder = begun(tmp_path_factory.mktemp("whole") / "it", prepared, needs)
            ended = run([word.format(folder) for word in words], folder)
            assert ended.code == 0, ended.err
            known[name] = left(folder), ended.operations
        return known[name]

    return of


def begun(folder, prepared, needs):
    if needs is not None:
        shutil.copytree(prepared / needs, folder)
    return folder


def moments(operations, name):
    """Return operations to interrupt: the first, the last and some others."""
    rng = random.Random(name)
    among = range(2, operations)
    return sorted({1, operations, *rng.sample(among, min(len(among), MOMENTS - 2))})


def lacked_room(ended, says):
    """Return whether a command could not write something; if so, its last line must say it."""
    # An answer of `generate` that cannot be kept is printed all the same, with a warning.
    if ended.code == 0 and "is not kept in" not in ended.err:
        return False
    *before, last = ended.err.splitlines()  # warnings, also those of torch, come before
    assert ended.code in (0, 2), ended.err
    assert not any(line.startswith(("Traceback", "ddpnas: ")) for line in before), ended.err
    assert f"({says}); make room" in last or NO_TEMPORARY in last, ended.err
    assert "; make room, then " in last, ended.err
    return True


@pytest.mark.parametrize("kind", ["kill", "full"])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_ends_as_the_unbroken_one(prepared, unbroken, tmp_path, name, kind):
    words, needs, left, again = COMMANDS[name]
    whole, operations = unbroken(name)
    assert operations >= 2
    for at in moments(operations, name):
        folder = begun(tmp_path / str(at), prepared, needs)
        command = [word.format(folder) for word in words]
        ended = run(command, folder, Fault(kind, at))
        where = f"operation {at} of {operations}: {ended.err}"
        if kind == "kill":
            assert ended.code in (-9, 0), where
            usable(folder)
            unfinished = ended.code != 0
        else:  # what needs no more room succeeds on a full disk
            unfinished = lacked_room(ended, "No space left on device")
        if unfinished:
            more = again(folder)
            more = command if more is None else more
            assert not more or (last := run(more, folder)).code == 0, where + last.err
        assert left(folder) == whole, where
        assert not [p for p in folder.rglob("*.tmp") if kind == "full"], where


@pytest.mark.parametrize("name", COMMANDS)
def test_where_files_may_not_grow_a_command_says_so_and_can_go_on(
    prepared, unbroken, tmp_path, name
):
    words, needs, left, again = COMMANDS[name]
    whole, _ = unbroken(name)
    for size in (0, 3_000):
        folder = begun(tmp_path / str(size), prepared, needs)
        command = [word.format(folder) for word in words]
        ended = run(command, folder, Fault("size", size))
        if lacked_room(ended, "File too large"):
            more = again(folder)
            more = command if more is None else more
            assert not more or (last := run(more, folder)).code == 0, last.err
        assert left(folder) == whole


@pytest.mark.parametrize("name", ["search", "fit", "fit --start", "shrink", "train"])
def test_a_power_cut_loses_nothing_that_is_counted_on(prepared, unbroken, tmp_path, name):
    words, needs, left, again = COMMANDS[name]
    whole, operations = unbroken(name)
    lost = 0
    every = range(3, operations, 11)  # a search writes many lines between two checkpoints
    for at in every if name == "search" else moments(operations, f"power {name}"):
        folder = begun(tmp_path / str(at), prepared, needs)
        there = {path for path in folder.rglob("*") if path.is_file()}
        command = [word.format(folder) for word in words]
        ended = run(command, folder, Fault("kill", at, every_checkpoint=False))
        assert ended.code in (-9, 0)
        for path in {path for path in folder.rglob("*") if path.is_file()} - there:
            content = path.read_bytes()
            kept = ended.synced.get(str(path), 0)
            lost += len(content) - kept
            path.write_bytes(content[:kept] + b"\0" * (len(content) - kept))
        more = again(folder)
        more = command if more is None else more
        assert not more or (last := run(more, folder)).code == 0, f"operation {at}: {last.err}"
        assert left(folder) == whole, f"operation {at} of {operations}"
    assert lost > 0 or name != "search"
