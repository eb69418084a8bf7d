"""A search by a teacher in a user's file: going on runs that file only if the user names it."""

import pytest

import ddpnas
from ddpnas.cli import main
from ddpnas.errors import RunError
from ddpnas.runs import GenerationRequest, Run

TEACHER = """
from pathlib import Path
from torch import nn

Path({log!r}).touch()

def network(num_classes=10, input_shape=(3, 32, 32)):
    return nn.Sequential(nn.Conv2d(input_shape[0], {width}, 3, 4, 1), nn.ReLU(),
        nn.Conv2d({width}, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes))
"""


def write(folder, width):
    """Write the file of the teacher, which notes that it was executed; return its name."""
    (folder / "mine.py").write_text(TEACHER.format(log=str(folder / "log"), width=width))
    (folder / "log").unlink(missing_ok=True)
    return f"{folder / 'mine.py'}:network"


def test_a_teacher_in_a_file_is_named_again(tmp_path, capsys):
    out, mine, log = tmp_path / "run", write(tmp_path, 4), tmp_path / "log"
    data = ddpnas.load_data("sign-digits-small", limit_train_images=40)
    options = {
        "strategy_options": {"evaluations": 3}, "out": out, "device": "cpu",
        "evaluator_options": {"teacher": mine, "images": 20, "steps": 1},
    }  # fmt: skip

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ddpnas.search("toy", data, "random", evaluator="rmi", on_progress=stop, **options)
    assert log.exists()
    write(tmp_path, 4)
    says = f"name it to have it executed: --network {mine}"
    with pytest.raises(RunError, match=says):
        ddpnas.resume(out)
    assert main(["resume", str(out), "--quiet"]) == 2 and says in capsys.readouterr().err
    assert not log.exists()
    found = ddpnas.resume(out, network=mine)
    assert log.exists() and len(found.history) == 3

    write(tmp_path, 4)
    with pytest.raises(RunError, match=says):
        ddpnas.rescore(out, [found.architecture])
    with pytest.raises(RunError, match=says):
        Run(out).generate(GenerationRequest(), rescore=1)
    write(tmp_path, 5)
    with pytest.raises(RunError, match=r"mine.py is no longer that of"):
        ddpnas.rescore(out, [found.architecture], network=mine)
    assert not log.exists()
    write(tmp_path, 4)
    assert main(["generate", str(out), "--rescore", "1", "--network", mine]) == 0


def test_a_search_that_goes_on_refuses_a_teacher_of_other_code(tmp_path):
    mine = write(tmp_path, 4)
    data = ddpnas.load_data("sign-digits-small", limit_train_images=40)

    def search(**more):
        return ddpnas.search(
            "toy", data, "random", strategy_options={"evaluations": 2}, evaluator="rmi",
            evaluator_options={"teacher": mine, "images": 20, "steps": 1}, out=tmp_path / "run",
            device="cpu", **more,
        )  # fmt: skip

    found = search()
    file = tmp_path / "mine.py"
    same = file.read_text()
    file.write_text(same.replace("nn.ReLU", "nn.Tanh"))  # of the same weights
    with pytest.raises(RunError, match=r"mine.py is no longer that of \S+run"):
        search(resume=True)
    file.write_text(same)
    assert search(resume=True).text == found.text


def test_a_search_without_a_teacher_takes_no_network(tmp_path):
    out = tmp_path / "run"
    ddpnas.search("nasbench201", "sign-digits-small", evaluator="table", out=out)
    with pytest.raises(RunError, match="does not use --network mine.py:network; leave it out"):
        ddpnas.resume(out, network="mine.py:network")
