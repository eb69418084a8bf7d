"""Names are data: whatever a class, a file or an option is called, it is shown as that."""

import ast
import csv
import logging
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpnas
from ddpnas import cli
from ddpnas.cli import _show as show
from ddpnas.cli import main
from ddpnas.evaluators import BaseEvaluator, Evaluation
from ddpnas.report import write_report
from ddpnas.training import save_networks

CLASSES = ("shoe [left]", "[/bold] :smile:", "=cmd|' /C calc'!A0", "<b>hat</b> | `x` $1$", "bag")

SPACE = """
from torch import nn

def network(choose, num_classes=5, input_shape=(1, 8, 8)):
    options = {"[red]conv": 3, "=pool\u202e": 5}
    first = choose("block [1]", {
        name: lambda k=k: nn.Conv2d(input_shape[0], 4, k, padding=k // 2)
        for name, k in options.items()
    })
    return nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return (file of images, file of a space) with names that mean something elsewhere."""
    root = tmp_path_factory.mktemp("names [b]")
    photos = root / "photos <i>.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(photos, train_images=images, train_labels=np.arange(40) % 5, classes=CLASSES)
    (root / "my space.py").write_text(SPACE)
    return photos, f"{root / 'my space.py'}:network"


@pytest.mark.slow
def test_names_with_a_meaning_elsewhere_go_through_every_command(capsys, places, tmp_path):
    photos, space = places
    run = str(tmp_path / "run [x] :smile:")
    device = ["--device", "cpu"]
    own = ["--space", space]
    steps = [
        ["search", *own, "--data", photos, "--out", run, *device, "--strategy", "random",
         "--strategy-options.evaluations", "2"],
        ["generate", run, *own, "--limit", "macs=1G"],
        ["frontier", run, *own, "--cost", "macs", "--csv"],
        ["train", run, *own, "--epochs", "1", *device],
        ["evaluate", f"{run}/trained", *own, "--data", photos, *device],
        ["report", run, *own],
        ["spaces", space],
    ]  # fmt: skip
    printed = {}
    for step in steps:
        code = main(list(map(str, step)))
        out, err = capsys.readouterr()
        assert code == 0, err
        assert "\x1b" not in out + err
        printed[step[0]] = out
    for name in CLASSES:
        assert f"as {name}" in " ".join(printed["evaluate"].split())
    assert "block [1]" in printed["search"] and r"=pool\u202e" in printed["search"]
    assert ddpnas.load(f"{run}/trained", space=space).classes == CLASSES
    cells = [
        cell for file in Path(run).rglob("*.csv") for row in csv.reader(file.open()) for cell in row
    ]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not any(re.match(r"[=@]", cell) for cell in cells)
    page = (Path(run) / "report.html").read_text()
    assert "<b>hat" not in page and "&lt;b&gt;hat" in page
    card = Path(run, "trained", "README.md").read_text()
    assert "``<b>hat</b> | `x` $1$``" in card and r"photos \<i>" in card


def test_commands_to_type_next_are_quoted_for_a_shell(capsys, tmp_path):
    data = ["--data", "sign-digits-small"]
    for file, words in (
        ("shrink.json", ["shrink", "torchvision:resnet18", "--limit", "macs=9"]),
        ("run.json", ["search", "--space", "toy"]),
    ):
        folder = tmp_path / f"my {file}"
        folder.mkdir()
        (folder / file).write_text("{}")
        assert main([*words, *data, "--out", str(folder)]) == 2
        assert f"`ddpnas resume '{folder}'`" in capsys.readouterr().err


def test_what_a_file_is_called_cannot_control_the_terminal(capsys, places, tmp_path):
    photos, _ = places
    data = ddpnas.load_data(photos)
    space = ddpnas.create_space("toy", num_classes=5, input_shape=data.input_shape)
    found = {d.name: d.options[0] for d in space.decisions}
    networks = ddpnas.compare(space, found, data, epochs=1, device="cpu")
    save_networks(tmp_path / "net", space, networks)
    bad = tmp_path / "a\nb\x1b[31m\u202e.png"
    Image.new("L", (8, 8)).save(bad)
    words = ["predict", str(tmp_path / "net"), str(bad), "--device", "cpu"]
    assert main(words) == 0
    assert r"a\nb\x1b[31m\u202e.png: " in capsys.readouterr().out
    missing = str(tmp_path / "no\x1b[2J.png")
    assert main(["predict", str(tmp_path / "net"), missing, "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and r"no\x1b[2J.png" in err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_path_that_is_not_utf8_is_printed(capsys, places, tmp_path):
    photos, _ = places
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.symlink_to(photos)
    code = main(["search", "--space", "toy", "--data", str(odd), "--out", str(odd / "none"),
                 "--evaluator", "nothing"])  # fmt: skip
    assert code == 2
    assert (
        main(["train", "--data", str(odd / "gone"), "--space", "toy", "--architecture", "x"]) == 2
    )
    assert r"caf\udce9" in capsys.readouterr().err


def test_a_table_shows_markup_as_text(capsys):
    show.table(["[b]", ":smile:"], [["[/b]", "\x1b[1m"]], title="[red]t[/]")
    out = capsys.readouterr().out
    assert all(text in out for text in ("[b]", ":smile:", "[/b]", r"\x1b[1m", "[red]t[/]"))


def test_log_messages_cannot_control_the_terminal():
    record = logging.makeLogRecord({"msg": "left out in %s", "args": ("a\x1b[31m",)})
    assert cli._Formatter("%(message)s").format(record) == r"left out in a\x1b[31m"


def test_commands_print_by_the_function_that_makes_names_harmless():
    for file in Path(cli.__file__).parent.glob("*.py"):
        if file.name in ("_show.py", "__init__.py"):
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert all(any(k.arg == "file" for k in call.keywords) for call in calls), (
            f"{file.name} prints by print(); use show.line()"
        )


class Zero(BaseEvaluator):
    """Scores every architecture as 0."""

    def evaluate(self, architectures):
        return iter([Evaluation(0.0)] * len(architectures))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_run_in_a_folder_that_is_not_utf8_is_trained_and_reported(places, tmp_path):
    data = ddpnas.load_data(places[0])
    space = ddpnas.create_space("toy", num_classes=5, input_shape=data.input_shape)
    run = tmp_path / os.fsdecode(b"caf\xe9")
    options = {"strategy": "random", "strategy_options": {"evaluations": 2}}
    ddpnas.search(space, data, out=run, evaluator=Zero(), **options)
    found = {d.name: d.options[0] for d in space.decisions}
    networks = ddpnas.compare(space, found, data, epochs=1, device="cpu")
    save_networks(run / os.fsdecode(b"n\xe9t"), space, networks)
    assert r"caf\udce9" in write_report(run).read_text()
    assert r"# n\\udce9t" in (run / os.fsdecode(b"n\xe9t") / "README.md").read_text()
