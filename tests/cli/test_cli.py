"""The commands as a user types them: what they print, and one sentence for a wrong input."""

import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import ddpnas
from ddpnas import SearchResult, list_spaces, list_strategies
from ddpnas.cli import _show as show
from ddpnas.cli import main
from ddpnas.cli._presets import PRESETS
from ddpnas.cli.parser import COMMANDS, SHOWN, parse
from ddpnas.data import list_data, list_sieves
from ddpnas.evaluators import evaluator_options, list_evaluators
from ddpnas.runs import Run
from ddpnas.runs.folder import RunFolder
from ddpnas.strategies import strategy_options

SMALL = [
    *("--space", "nasbench201"),
    *("--space-options.channels", "2", "--space-options.cells-per-stage", "1"),
]
SHORT = [
    *SMALL, "--strategy-options.cycles-per-stage", "1", "--strategy-options.draws", "20",
    "--device", "cpu",
]  # fmt: skip
QUICK = [*SHORT, "--evaluator", "table"]  # known scores instead of training
SHARED = [
    *SHORT, "--evaluator-options.warmup-epochs", "2", "--evaluator-options.proxy-weight", "0",
]  # fmt: skip
TEACHER = """
from torch import nn

def network(num_classes=10, input_shape=(1, 28, 28)):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes))
"""
OWN_SPACE = """
from torch import nn

def conv(kernel):
    return lambda: nn.Conv2d(4, 4, kernel, padding=kernel // 2)

def network(choose, num_classes=10, input_shape=(1, 28, 28)):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3, stride=2),
        choose("block1", {"conv3": conv(3), "conv5": conv(5), "skip": nn.Identity}),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


OWN_STRATEGY = """
from ddpnas.strategies.base import BaseStrategy

class Mine(BaseStrategy):
    def __init__(self, space, seed=0, *, evaluations=3, at_most=9):
        super().__init__(space, seed, min(evaluations, at_most))

    def propose(self):
        return [self.legal.uniform(self.rng)]
"""


def images(root, classes=("cat", "dog"), number=12, size=9):
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.integers(0, 120, (size, size, 3), dtype=np.uint8) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return str(root)


def test_an_error_is_one_line_whatever_a_name_holds(capsys):
    assert main(["generate", "a\nb"]) == 2
    assert capsys.readouterr().err == "ddpnas: there is no run folder a\\nb\n"


@pytest.mark.parametrize("buffering", [-1, 0])  # 0: as PYTHONUNBUFFERED has it
def test_a_reader_that_has_gone_ends_a_command_without_a_word(capsys, monkeypatch, buffering):
    read, write = os.pipe()
    os.close(read)
    with monkeypatch.context() as patch, open(write, "wb", buffering) as stream:
        patch.setattr("sys.stdout", io.TextIOWrapper(stream, write_through=buffering == 0))
        assert main(["recipes", "quick"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory."), OSError(12, "Cannot allocate memory")],
)
def test_without_memory_a_command_gets_one_sentence(capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("ddpnas.cli.search.load_data", fail)
    assert main(["search", "--data", "sign-digits-small", "--out", "unused"]) == 2
    assert capsys.readouterr().err.startswith("ddpnas: there is not enough memory for this; ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_to_a_full_disk_gets_one_sentence(capsys, monkeypatch):
    with monkeypatch.context() as patch, open("/dev/full", "w") as stream:
        patch.setattr("sys.stdout", stream)
        assert main(["recipes", "quick"]) == 2
    says = "ddpnas: the output cannot be written (No space left on device); make room, then retry\n"
    assert capsys.readouterr().err == says


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a finished small search on Fashion-MNIST images."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["search", *QUICK, "--limit-train-images", "200", "--out", str(out)]) == 0
    return str(out)


def refused(capsys, *words):
    """Return the sentence a wrong command ends with; checks code 2 and that it is only that."""
    capsys.readouterr()
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("ddpnas: ") and printed.err.count("\n") == 1
    assert "Traceback" not in printed.err + printed.out
    return printed.err


def test_the_papers_preset_can_be_overridden_by_what_follows():
    _, options = parse(["search", "--preset", "paper", "--strategy-options.keep", "2"])
    assert options.strategy == "ddpnas-paper" and options.strategy_options == {"keep": 2}
    assert options.evaluator_options == {"training": "path", "score": "accuracy"}


@pytest.mark.parametrize("seed", ["-1", "5000000000", "1.5"])
def test_a_seed_out_of_range_is_refused(capsys, seed):
    assert "seed" in refused(capsys, "search", "--seed", seed)
    assert "seed" in refused(capsys, "train", "runs/none", "--seed", seed)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "bignas" else n for n in PRESETS]
)
def test_a_preset_is_listed_and_searches(name, tmp_path, capsys):
    assert main(["strategies"]) == 0
    assert re.search(rf"^ +{name}  ", capsys.readouterr().out, re.MULTILINE)
    if name == "rmi":
        pytest.importorskip("sklearn")
    teacher = tmp_path / "teacher.py"
    teacher.write_text(TEACHER)
    elastic = ["--space-options.width=0.1", "--space-options.depths=[1,2]"]
    small = {
        "bignas": [*elastic, "--evaluator-options.warmup-epochs=1"],
        "ofa": [*elastic, "--evaluator-options.warmup-epochs=4"],
        "da-nas": ["--space=toy", "--strategy-options.epochs=7"],
        "paper": ["--space=toy", "--strategy-options.cycles-per-stage=1"],
        "tiered": ["--space=toy", "--strategy-options.epochs=7"],
        "rmi": [
            "--space=toy", "--strategy-options.initial=8", "--evaluator-options.steps=2",
            f"--evaluator-options.teacher={teacher}:network",
        ],
    }.get(name, ["--space=toy", "--evaluator-options.warmup-epochs=1"])  # fmt: skip
    small += ["--data", "sign-digits-small", "--limit-train-images", "60"]
    sized = {"evaluations": 12, "population": 5}
    known = [
        option for option in sized if option in strategy_options(PRESETS[name].options["strategy"])
    ]
    options = [f"--strategy-options.{option}={sized[option]}" for option in known]
    out = str(tmp_path / name)
    assert main(["search", "--preset", name, *small, *options, "--out", out, "--quiet"]) == 0
    config = Run(out).config
    assert config.strategy == PRESETS[name].options["strategy"]
    assert config.evaluator_options.get("score", "accuracy") == "accuracy"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_printed_is_a_configuration(name, tmp_path, capsys):
    assert main(["strategies", name]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "preset.yaml"
    file.write_text(printed)
    assert yaml.safe_load(file.read_text()) == PRESETS[name].options
    assert PRESETS[name].about in printed


def test_an_unknown_preset_is_refused_with_the_known_ones(capsys):
    assert "did you mean 'paper'" in refused(capsys, "search", "--preset", "papre")


@pytest.mark.parametrize("command", ["resume", "report", "generate", "train", "load"])
def test_a_null_character_is_refused(command, capsys):
    assert "null character" in refused(capsys, command, "runs/a\0b")


def test_a_fair_search_says_what_it_trains(capsys, tmp_path):
    out = str(tmp_path / "run")
    assert main(["search", *SHARED, "--limit-train-images", "100", "--out", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("training all options: epoch" in line for line in lines) == 2
    assert sum("validation accuracy" in line and line.startswith("[") for line in lines) == 14


def test_search_prints_progress_the_pruning_and_what_to_type_next(capsys, tmp_path):
    out = str(tmp_path / "run")
    assert main(["search", *QUICK, "--limit-train-images", "100", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert "[ 14/14]" in printed and "accuracy in the table" in printed
    assert "validation accuracy" not in printed
    assert "architecture found: |" in printed and "kept" in printed and "s4" in printed
    (costs,) = re.findall(
        r"^MACs: ([\d,]+) at least, ([\d,]+) found, ([\d,]+) at most$", printed, re.MULTILINE
    )
    least, found, most = (int(number.replace(",", "")) for number in costs)
    assert least <= found <= most
    (command,) = re.findall(
        f"^next: ddpnas (generate {out} --limit macs=\\S+)", printed, re.MULTILINE
    )
    assert main(command.split()) == 0
    capsys.readouterr()
    assert main(["spaces", "--run", out]) == 0
    listed = capsys.readouterr().out
    assert f"{least:,}" in listed and f"{most:,}" in listed


def test_without_a_space_edge_is_searched_at_the_size_of_the_limit(capsys, tmp_path):
    out = str(tmp_path / "run")
    words = [
        *("search", "--data", "sign-digits-small", "--limit-train-images", "60", "--quiet"),
        *("--space-options.depths", "[1]", "--space-options.expansions", "[1, 2]"),
        *("--strategy", "random", "--strategy-options.evaluations", "2", "--device", "cpu"),
        *("--evaluator-options.warmup-epochs", "1", "--evaluator-options.proxy-weight", "0"),
    ]
    assert main([*words, "--limit", "macs=300K", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert f"next: ddpnas generate {out} --limit macs=300K --rescore 50" in printed
    assert main(["generate", out, "--limit", "macs=300K", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["costs"]["macs"] <= 300_000
    config = Run(out).config
    assert config.space == "edge" and "limits" not in config.space_options
    shape = tuple(config.space_options["input_shape"])
    unlimited = ddpnas.create_space("edge", input_shape=shape, depths=[1], expansions=[1, 2])
    # 300K is less than what the images alone ask for.
    assert config.space_options["stages"][-1][-1] < unlimited.options["stages"][-1][-1]


def test_quiet_prints_the_result_only(capsys, tmp_path):
    main(["search", *QUICK, "--limit-train-images", "100", "--out", str(tmp_path / "r"), "--quiet"])
    printed = capsys.readouterr().out
    assert "[ " not in printed and "architecture found" in printed


def test_generate_prints_an_architecture_within_the_limits_as_table_and_as_json(capsys, run):
    words = ["generate", run, "--limit", "macs=0.3M", "--limit", "params=2K"]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["limits"] == {"macs": 300_000, "params": 2000}
    assert record["costs"]["macs"] <= 300_000 and record["costs"]["params"] <= 2000
    assert record["certificate"]["gap"] < 1e-9
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert record["text"] in printed and "proven optimal" in printed
    assert re.search(r"macs\s+[\d,]+\s+at most 300,000\s+[\d,]+", printed)


def test_an_answer_is_printed_where_it_cannot_be_kept(capsys, caplog, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    assert main(["generate", str(copy)]) == 0
    assert f"next: ddpnas train {copy}" in capsys.readouterr().out
    kept = (copy / "generated.json").read_text()
    folder = RunFolder.open(copy)
    words = ["generate", str(copy), "--limit", "macs=300K", "--rescore", "12", "--device", "cpu"]
    assert main(words) == 0
    assert re.findall("^rescoring: .*", capsys.readouterr().out, re.MULTILINE) == [
        "rescoring: 10 of 12 networks",
        "rescoring: 12 of 12 networks",
    ]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"] == {"macs": 300_000}
    assert "not kept in generated.json" in caplog.text and "wait until that" in caplog.text
    folder.close()
    assert (copy / "generated.json").read_text() == kept
    (copy / "generated.json").unlink()
    (copy / "generated.json").mkdir()
    caplog.clear()
    assert main(["generate", str(copy), "--limit", "macs=300K"]) == 0
    printed = capsys.readouterr().out
    assert "architecture: |" in printed and "next:" not in printed
    assert "generated.json is a folder, not a file" in caplog.text


def test_train_compares_the_generated_network_with_random_ones(capsys, run, tmp_path):
    main(["generate", run, "--limit", "macs=300K"])
    out = str(tmp_path / "trained")
    words = ["train", run, "--epochs", "1", "--random", "2", "--limit-train-images", "100"]
    assert main([*words, "--out", out, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "within macs at most 300,000" in printed
    for row in ("found", "random 1", "random 2", "random, mean"):
        assert re.search(rf"{row} .*[\d,]+ .*\d+\.\d\d.* %", printed), row
    kept = json.loads((tmp_path / "trained" / "result.json").read_text())
    assert [n["name"] for n in kept["networks"]] == ["found", "random 1", "random 2"]
    assert all(n["costs"]["macs"] <= 300_000 for n in kept["networks"])
    assert "--overwrite" in refused(capsys, *words, "--out", out)
    assert main([*words, "--out", out, "--overwrite", "--quiet", "--device", "cpu"]) == 0


def test_the_final_network_may_be_wider_than_the_searched_one(capsys, run):
    main(["generate", run, "--space-options.channels", "4", "--json"])
    wide = json.loads(capsys.readouterr().out)
    main(["generate", run, "--json"])
    narrow = json.loads(capsys.readouterr().out)
    assert wide["costs"]["params"] > 2 * narrow["costs"]["params"]
    assert wide["architecture"] == narrow["architecture"]


def test_any_architecture_is_trained_without_a_search(capsys, tmp_path):
    words = [
        *("train", *SMALL, "--data", images(tmp_path / "i")),
        *("--architecture", "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"),
        *("--epochs", "1", "--out", str(tmp_path / "out"), "--device", "cpu"),
    ]
    assert main(words) == 0
    about = json.loads((tmp_path / "out" / "architecture.json").read_text())
    assert about["classes"] == ["cat", "dog"] and (tmp_path / "out" / "model.safetensors").exists()
    assert "what should be trained" in refused(capsys, "train", "--space", "nasbench201")


def test_own_images_and_own_space_from_search_to_training(capsys, tmp_path):
    folder = images(tmp_path / "images", classes=("cat", "dog", "owl"))
    (tmp_path / "space.py").write_text(OWN_SPACE)
    space, out = f"{tmp_path / 'space.py'}:network", str(tmp_path / "run")
    search = ["search", "--space", space, "--data", folder, "--out", out, "--device", "cpu"]
    search += ["--evaluator-options.warmup-epochs", "5"]
    assert main([*search, "--quiet"]) == 0
    assert "architecture found: block1=" in capsys.readouterr().out
    # Code is executed because it is named on the command line, never because a run names it.
    says = refused(capsys, "generate", out)
    assert f"--space {space}" in says
    assert main(["generate", out, "--space", space, "--limit", "params=500"]) == 0
    assert main(["train", out, "--space", space, "--epochs", "1", "--device", "cpu"]) == 0
    assert main(["resume", out, "--space", space]) == 0
    trained = f"{out}/trained"
    assert main(["evaluate", trained, "--space", f"{trained}/space.py:network"]) == 0
    # Weights and scores are of the code that was searched; comments do not count, other code does.
    (tmp_path / "space.py").write_text("# mine\n" + OWN_SPACE)
    assert main(["generate", out, "--space", space]) == 0
    (tmp_path / "moved.py").write_text(OWN_SPACE)
    capsys.readouterr()
    assert main(["resume", out, "--space", f"{tmp_path / 'moved.py'}:network"]) == 0
    shown = capsys.readouterr().out
    assert f"next: ddpnas generate {out} --space {tmp_path / 'moved.py'}:network" in shown
    says = refused(capsys, "latency", "check", out, "--space", space)
    assert f"(ddpnas latency --run {out} --space {space})" in says
    (tmp_path / "space.py").write_text(OWN_SPACE.replace("stride=2", "stride=3"))
    for words in (["resume"], ["generate"], ["generate", "--rescore", "2"], ["train"]):
        says = refused(capsys, words[0], out, *words[1:], "--space", space)
        assert "space.py is no longer that of" in says and "restore the file" in says
    assert "name its copy: --space" in refused(capsys, "evaluate", trained, "--space", space)
    (tmp_path / "space.py").write_text(OWN_SPACE)
    (tmp_path / "images" / "cat" / "0.png").unlink()
    says = refused(capsys, "train", out, "--space", space, "--epochs", "1", "--overwrite")
    assert "are no longer those that" in says


def test_a_strategy_of_ones_own_searches_and_what_it_found_is_used(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_STRATEGY)
    strategy = ["--strategy", f"{tmp_path / 'mine.py'}:Mine"]
    out = str(tmp_path / "run")
    search = ["search", "--space", "toy", "--data", images(tmp_path / "images"), *strategy]
    search += ["--out", out, "--device", "cpu", "--evaluator-options.warmup-epochs", "1", "--quiet"]
    search += ["--space-options.width", "4", "--strategy-options.at-mots", "2"]
    assert "did you mean 'at_most'" in refused(capsys, *search)
    assert not (tmp_path / "run").exists()
    search[-2] = "--strategy-options.at-most"
    assert main(search) == 0
    assert len(SearchResult.load(out).history) == 2
    assert " ".join(strategy) in refused(capsys, "resume", out)
    assert main(["resume", out, *strategy]) == 0
    assert main(["generate", out, "--limit", "params=1M", "--rescore", "2", "--device", "cpu"]) == 0
    assert main(["train", out, "--epochs", "1", "--device", "cpu", "--quiet"]) == 0
    assert main(["report", out]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "strategy: mine.py:Mine" in page and str(tmp_path) not in page
    again = ["search", "--config", f"{out}/config.yaml", "--out", f"{out}2", "--quiet"]
    assert main(again) == 0  # the user names the configuration, and so the file


def test_a_run_whose_images_moved_is_trained_where_they_are_named(capsys, run, tmp_path):
    words = ["train", run, "--epochs", "1", "--limit-train-images", "100", "--quiet"]
    out = ["--out", str(tmp_path / "trained"), "--device", "cpu"]
    assert main([*words, "--data", "fashion-mnist-12k", *out]) == 0
    assert "no file or folder" in refused(
        capsys, *words, "--data", str(tmp_path / "gone"), *out[2:]
    )


def test_a_run_and_its_images_may_move(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "images")
    (tmp_path / "space.py").write_text(OWN_SPACE)
    own = ["--space", f"{tmp_path / 'space.py'}:network"]
    few = ["--strategy", "random", "--strategy-options.evaluations", "3"]
    short = ["--device", "cpu", "--evaluator-options.warmup-epochs", "2", "--quiet"]
    assert main(["search", *own, "--data", "images", "--out", "run", *few, *short]) == 0
    train = ["train", "run", *own, "--epochs", "1", "--device", "cpu"]
    assert main(train) == 0
    (tmp_path / "elsewhere").mkdir()
    run = str((tmp_path / "run").rename(tmp_path / "elsewhere" / "run"))
    trained = f"{run}/trained/space.py:network"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", run, "--space", trained]) == 0
    assert main(["report", run, *own]) == 0
    assert "cannot be shown" not in (tmp_path / "elsewhere" / "run" / "report.html").read_text()
    assert main(["resume", run, *own]) == 0
    assert main(["train", run, *train[2:], "--out", "again"]) == 0

    moved = (tmp_path / "images").rename(tmp_path / "moved")
    rescore = ["generate", run, *own, "--rescore", "2", "--device", "cpu"]
    for words in (["resume", run, *own], rescore, ["train", run, *own, "--overwrite"]):
        assert "are no longer at" in (says := refused(capsys, *words)) and "--data FOLDER" in says
    assert "with --data" in refused(capsys, "evaluate", run, "--space", trained)
    for words in (["resume", run, *own], rescore):
        assert main([*words, "--data", str(moved)]) == 0
    assert main(["evaluate", run, "--space", trained]) == 0  # what `resume` was told is kept
    (moved / "cat" / "0.png").write_bytes((moved / "dog" / "0.png").read_bytes())
    for words in (["resume", run, *own], rescore):
        assert "are no longer those that" in refused(capsys, *words, "--data", str(moved))


def test_an_interrupted_search_or_training_says_the_command_that_goes_on(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "my space.py").write_text(OWN_SPACE)
    (tmp_path / "my strategy.py").write_text(OWN_STRATEGY)
    own = ["--space", f"{tmp_path / 'my space.py'}:network"]
    strategy = ["--strategy", f"{tmp_path / 'my strategy.py'}:Mine"]
    folder = ["--data", images(tmp_path / "images")]
    short = ["--device", "cpu", "--evaluator-options.warmup-epochs", "1", "--quiet"]

    def interrupted(kind, *words):
        """Return the words of the command that the interrupted one prints; it is 2 reports long."""
        reports = []

        def update(self, *report):
            whole(self, *report)
            reports.append(report)
            if len(reports) == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            whole = kind.update
            patch.setattr(kind, "update", update)
            capsys.readouterr()
            assert main(list(words)) == 130
        told = re.fullmatch(r"ddpnas: interrupted; go on: ddpnas (.*)\n", capsys.readouterr().err)
        return shlex.split(told[1])

    out = str(tmp_path / "a run")
    search = ["search", *own, *strategy, *folder, *short, "--out", out]
    resume = interrupted(show.SearchProgress, *search)
    assert resume == ["resume", out, *own, *strategy]
    assert interrupted(show.SearchProgress, *resume) == resume
    assert main(resume) == 0
    train = ["train", out, *own, "--epochs", "3", "--device", "cpu", "--random", "1"]
    go_on = interrupted(show.TrainProgress, *train)
    assert interrupted(show.TrainProgress, *go_on) == go_on == [*train, "--resume"]
    assert main(go_on) == 0
    train.append("--overwrite")
    assert interrupted(show.TrainProgress, *train) == [*train, "--resume"]
    assert main([*train, "--resume"]) == 0

    def before(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.cli.search.load_data", before)
    capsys.readouterr()
    assert main([*search, "--overwrite"]) == 130
    assert capsys.readouterr().err == "ddpnas: interrupted\n"  # the run before is still there
    assert SearchResult.load(out).history


def test_a_run_repeats_from_its_own_configuration(run, tmp_path):
    again = tmp_path / "again"
    assert main(["search", "--config", f"{run}/config.yaml", "--out", str(again), "--quiet"]) == 0
    scores = [
        [record["score"] for record in SearchResult.load(folder).history] for folder in (run, again)
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 14


def test_resume_of_a_finished_run_prints_its_result(capsys, run):
    assert "the folder of a search, where --json does" in refused(capsys, "resume", run, "--json")
    assert main(["resume", run]) == 0
    assert "architecture found" in capsys.readouterr().out


def test_every_option_of_every_command_has_a_help_text():
    for command, (make, _) in COMMANDS.items():
        for action in filter(lambda a: a.dest != "help", make()._actions):
            assert action.help, f"{command} {action.dest}"
            assert "``" not in str(action.help) and ":meth:" not in str(action.help)


def test_help_begins_with_fit_and_its_examples_are_commands():
    assert next(iter(COMMANDS)) == "fit"
    examples = [make().epilog for make, _ in COMMANDS.values() if make().epilog]
    assert len(examples) > 5
    for example in examples:
        parse(shlex.split(example.removeprefix("example: ddpnas ")))


def test_the_configuration_is_printed_as_the_help_says(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--evaluator-options.proxy-weight", "0.25", "--print-config"])
    assert stopped.value.code in (0, None)
    assert yaml.safe_load(capsys.readouterr().out)["evaluator_options"] == {"proxy-weight": 0.25}


@pytest.mark.parametrize("name", list_strategies())
def test_the_options_of_a_strategy_are_explained(capsys, name):
    assert main(["strategies", name]) == 0
    printed = capsys.readouterr().out
    assert all(option in printed for option in strategy_options(name))


@pytest.mark.parametrize("name", list_evaluators())
def test_the_options_of_an_evaluator_are_explained(capsys, name):
    assert main(["evaluators", name]) == 0
    printed = capsys.readouterr().out
    assert all(option in printed for option in evaluator_options(name))
    assert f"--evaluator {name} --evaluator-options.NAME VALUE" in printed


def test_the_options_of_a_strategy_of_ones_own_are_listed(capsys, tmp_path):
    named = f"{tmp_path / 'mine.py'}:Mine"
    told = '"""Mine.\n\n        Args:\n            at_most: bound.\n        """'
    head = "Mine(BaseStrategy):"
    code = OWN_STRATEGY.replace(head, f"{head}\n    {told}").replace("=9", "")
    (tmp_path / "mine.py").write_text(code)
    assert main(["strategies", named]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["evaluations", "3"] in [row[:2] for row in rows]
    assert ["at_most", "required", "bound."] in rows
    assert f"--strategy {named} --strategy-options.NAME VALUE" in printed
    assert "known: Mine" in refused(capsys, "strategies", named + "s")


def test_what_to_type_next_works_for_a_space_of_ones_own(capsys, tmp_path):
    (tmp_path / "space.py").write_text(OWN_SPACE)
    folder = images(tmp_path / "images", classes=("cat", "dog", "owl"))
    out = str(tmp_path / "a run")
    words = ["search", "--space", f"{tmp_path / 'space.py'}:network", "--data", folder]
    assert (
        main([*words, "--out", out, "--device", "cpu", "--evaluator-options.warmup-epochs", "2"])
        == 0
    )
    told = re.findall(r"^(?:next|then): ddpnas (.*)$", capsys.readouterr().out, re.MULTILINE)
    generate, train = (shlex.split(line) for line in told)
    assert main([*generate[:-2], "--device", "cpu"]) == 0
    told = re.findall(r"^next: ddpnas (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert shlex.split(told[0])[:4] == train[:4]
    assert main([*train[:-1], "1", "--epochs", "1", "--device", "cpu"]) == 0
    told = re.findall(r"ddpnas predict (.*) IMAGE", capsys.readouterr().out)
    photo = next(str(path) for path in (tmp_path / "images").rglob("*.png"))
    assert main(["predict", *shlex.split(told[0]), photo]) == 0


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("spaces", list_spaces()),
        ("strategies", list_strategies()),
        ("evaluators", list_evaluators()),
        ("data", [*list_data(), *list_sieves()]),
    ],
)
def test_lists(capsys, command, names):
    assert main([command]) == 0
    listed = capsys.readouterr().out
    missing = [n for n in names if not re.search(rf"^ *{n}  ", listed, re.MULTILINE)]
    assert not missing and len(names) > 1, listed


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told == f"ddpnas {ddpnas.__version__}, torch {torch.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["resume", "--help"], ["search", "-h"]])
def test_help_is_there(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
    assert "usage: ddpnas" in capsys.readouterr().out


def test_help_names_a_default_only_where_it_tells_something(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "such as 5%;" in printed and "list this many of the best networks (default: 1)" in printed
    )
    assert "auto, cpu, cuda, ... (default: auto)" in printed
    assert "null" not in printed and "type:" not in printed and "[]" not in printed


def test_the_list_of_commands_has_one_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:4] == " " * 4
    ]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("command", SHOWN)
def test_help_shows_few_options_and_says_where_the_others_are(capsys, command):
    printed = []
    for word in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main([command, word])
        printed.append(capsys.readouterr().out)
    short, whole = ({*re.findall(r"--[a-z-]+", text)} - {"--help-all"} for text in printed)
    assert f"ddpnas {command} --help-all" in printed[0]
    assert {"--seed", "--out"} <= short < whole and len(short) <= 14
    assert "--sieve-options" in whole - short


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serch"], "did you mean 'search'"),
        (["fit"], "`ddpnas fit` needs DATA; see `ddpnas fit --help`"),
        (["fit", "photos", "more"], "does not know what to do with 'more'"),
        (["fit", "--data", "photos"], "'--data': give DATA without it: `ddpnas fit DATA`"),
        (["fit", "photos", "--lr", "3"], "unknown option of `ddpnas fit` '--lr': known: --base"),
        (["search", "--spce", "x"], "did you mean '--space'"),
        (
            ["search", "--evaluator-options.batchsize", "3"],
            "did you mean 'batch_size'",
        ),
        (["search", "--space", "nasbench21"], "did you mean 'nasbench201'"),
        (["search", "--space-options.stage", "3"], "did you mean 'stages'"),
        (["search", "--strategy", "ddpna"], "did you mean 'ddpnas'"),
        (["search", "--strategy-options.explor", "1"], "did you mean 'explore'"),
        (["search", "--data", "fashion-mnist"], "did you mean 'fashion-mnist-12k'"),
        (["search", "--data", "/no/such/folder"], "no file or folder '/no/such/folder'"),
        (["search", "--space-options.num_classes", "20"], "num_classes 20 was asked for"),
        (["search", "--space-options.stem-stride", "-3"], "from 1 to 64, not -3"),
        (
            ["search", "--seed", "x"],
            "--seed must be a whole number from 0 to",
        ),
        (["search", "--seed", "18446744073709551616"], "not 18446744073709551616"),
        (["search", "--seed", "1", "--seed", "2"], "--seed is given twice; give it once"),
        (["search", "--image-size", "1e300"], "a whole number from 1 to 4,096, not '1e300'"),
        (["search", "--space", "toy", "--limit", "macs=20M"], " --limit macs=20M`"),
        (["search", "--data", "/no/such", "--limit", "latency_ms=2"], "not by latency_ms"),
        (["search", "--data", "/no/such", "--limit", "macs=2x"], "cannot read the limit '2x'"),
        (["search", "--epochs", "5"], "did you mean '--evaluator-options.warmup-epochs'?"),
        (["search", "--depths", "5"], "did you mean '--space-options.depths'?"),
        (["search", "--top", "5"], "it belongs to `ddpnas generate`"),
        (["search", "--strategy-options.seed", "5"], "seed is not an option of strategy 'ddpnas'"),
        (["search", "--space-options.name", "x"], "unknown option of space 'edge' 'name'"),
        (["search", "--evaluator-options.momentum", "-1"], "at least 0 and below 1, not -1"),
        (["search", "--evaluator-options.lr", "1e300"], "above 0 and at most 1e+30, not 1e+300"),
        (["search", "--data", "/no/such", "--strategy", "randon"], "did you mean 'random'"),
        (["search", "--data", "/no/such", "--device", "meta"], "device 'meta' cannot be used"),
        (["train", "x", "--random", "-1"], "--random must be a whole number from 0 to 10,000"),
        (["train", "x", "--recipe-options.mixup", "-1"], "mixup of a recipe must be a number from"),
        (["benchmark", "nasbench201", "--strategies", "random:seed=5"], "seed is not an option"),
        (["benchmark", "nasbench201", "--seeds", "nan"], "--seeds must be a whole number from 1"),
        (
            ["search", "--strategy-options.cycles-per-stage", "abc"],
            "must be a whole number from 1 to 10,000, not 'abc'",
        ),
        (
            ["search", "--strategy-options.cycles-per-stage", "2.5"],
            "must be a whole number from 1 to 10,000, not 2.5",
        ),
        (["search", "--strategy-options.cycles-per-stage", "-1"], "from 1 to 10,000, not -1"),
        (["search", "--config", "/no/such.yaml"], "no/such.yaml"),
        (["search", "--device", "nonsense"], "try cpu"),
        (["search", "--space", "absent.py:network"], "no file 'absent.py'"),
        (["search", "--evaluator-options.lr", "0"], "above 0"),
        (["search", "--valid-fraction", "1.5"], "--valid-fraction must be a number of at least 0"),
        (["resume", "/no/such/run"], "there is no run folder /no/such"),
        (["generate", "/no/such/run"], "there is no run folder /no/such"),
        (["train", "/no/such/run"], "there is no run folder /no/such"),
    ],
)
def test_a_wrong_input_gets_one_sentence(capsys, words, says, tmp_path):
    more = ["--out", str(tmp_path / "run")] if words[0] == "search" else []
    assert says in refused(capsys, *words, *more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generate", "--limit", "macs=10"], "lowest possible is"),
        (["generate", "--limit", "mac=1M"], "did you mean 'macs'"),
        (["generate", "--limit", "macs=-5"], "lowest possible is"),
        (["generate", "--limit", "macs=2x"], "cannot read the limit '2x'; write 20M"),
        (["generate", "--limit", "macs"], "such as macs=20M"),
        (["generate", "--limit", "macs=1M", "--limit", "macs=2M"], "two limits on macs"),
        (["generate", "--limit", "macs=10..5"], "a limit cannot range from 10"),
        (["generate", "--space", "darts"], "leave --space out"),
        (["train", "--epochs", "0"], "from 1 to 100,000, not 0"),
        (["train", "--epochs", "-2"], "from 1 to 100,000, not -2"),
        (["train", "--recipe", "quik"], "did you mean 'quick'"),
        (["train", "--architecture", "nonsense"], "the form is"),
        (["train", "--epochs", "1", "--out", "/dev/null/x"], "cannot be written"),
    ],
)
def test_a_wrong_input_about_a_run_gets_one_sentence(capsys, run, words, says):
    assert says in refused(capsys, words[0], run, *words[1:])


def test_a_run_folder_is_not_overwritten_unless_told_so(capsys, tmp_path):
    out = str(tmp_path / "r")
    words = ["search", *QUICK, "--limit-train-images", "100", "--out", out, "--quiet"]
    assert main(words) == 0
    assert "--overwrite" in refused(capsys, *words)
    assert main([*words, "--overwrite"]) == 0
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, *words[:-3], "--out", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("classes", "spoil", "says"),
    [
        (("cat",), None, "one class only (cat)"),
        (("cat", "dog"), "empty", "has no images"),
        (("cat", "dog"), "torn", "cat/3.png cannot be read"),
    ],
)
def test_folders_of_images_that_cannot_be_used(capsys, tmp_path, classes, spoil, says):
    folder = images(tmp_path / "images", classes=classes)
    if spoil == "empty":
        (tmp_path / "images" / "emu").mkdir()
    if spoil == "torn":
        (tmp_path / "images" / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    assert says in refused(capsys, "search", "--data", folder, "--out", str(tmp_path / "r"))


def test_images_smaller_than_the_network_can_take(capsys, tmp_path):
    (tmp_path / "space.py").write_text(OWN_SPACE.replace("3, stride=2)", "11)"))
    folder = images(tmp_path / "images")
    says = refused(
        capsys, "search", "--space", f"{tmp_path / 'space.py'}:network", "--data", folder,
        "--out", str(tmp_path / "r"),
    )  # fmt: skip
    assert "on an input of 3x9x9 fails" in says and "--image-size" in says


def test_divergence_is_said_and_the_checkpoint_before_it_is_intact(capsys, tmp_path):
    out = str(tmp_path / "r")
    says = refused(
        capsys, "search", *SHARED, "--limit-train-images", "300", "--evaluator-options.lr", "1e20",
        "--evaluator-options.clip", "0", "--evaluator-options.batch-size", "300",
        "--out", out, "--quiet",
    )  # fmt: skip
    assert re.search(r"in epoch \d+, .*try --evaluator-options.lr", says)
    assert "unfinished run" in refused(capsys, "search", *QUICK, "--out", out)
    again = refused(capsys, "resume", out)
    assert says == again


def test_too_long_a_name_of_a_configuration_is_a_sentence(capsys):
    assert "File name too long" in refused(capsys, "search", "--config", 3000 * "[")


def test_a_configuration_may_come_from_the_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("space: nowhere"))
    assert "unknown space 'nowhere'" in refused(capsys, "search", "--config", "-")
