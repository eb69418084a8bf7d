"""A plan or the folder of a fit never makes a file run; the user names it again."""

import contextlib
import json
import shutil

import pytest
import torch

import ddpnas
from ddpnas.cli import main
from ddpnas.errors import RunError
from ddpnas.fitting import FitPlan, resume_fit

from .test_fit import PLAN, equal

NET = """
from pathlib import Path
from torch import nn

Path({log!r}).open("a").write(__file__ + chr(10))

def network(num_classes=2, input_shape=(1, 8, 8)):
    return nn.Sequential(nn.Conv2d(input_shape[0], {width}, 3, 2, 1), nn.BatchNorm2d({width}),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({width}, num_classes))
"""


@pytest.fixture(scope="module")
def data():
    labels = torch.arange(96) % 2
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 128, (96, 1, 8, 8), generator=generator)
    images = (pixels + 96 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return ddpnas.make_data((images, labels), flip=False)


class Files:
    """Networks in files that note when they are executed."""

    def __init__(self, folder):
        self._folder, self._log = folder, folder / "log"

    def write(self, name, width):
        """Write a file; return the name of the network in it."""
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(NET.format(log=str(self._log), width=width))
        return f"{path}:network"

    def executed(self):
        """Return the files that were executed since this was asked last."""
        found = {*self._log.read_text().split()} if self._log.exists() else set()
        self._log.unlink(missing_ok=True)
        return found


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def interrupted(data, out, **options):
    """Interrupt a fit in its training, and return its folder."""

    def stop(text):
        if text.startswith("epoch 1 "):
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        ddpnas.fit(data, out=out, export="none", on_progress=stop, **options)
    return out


def plan_with(folder, **settings):
    """Write a plan, and return its path."""
    alone = {"strategy_options": {"candidates": 1, "rungs": 1}, "epochs": 2}
    (folder / "given.json").write_text(json.dumps({**PLAN.to_dict(), **alone, **settings}))
    return folder / "given.json"


@pytest.fixture(autouse=True)
def short_baselines(monkeypatch):
    """Train each baseline for an epoch, not for as long as the fit had."""
    train = ddpnas.fitting.searched.train

    def short(*networks, **options):
        return train(*networks, **(options | {"epochs": 1}))

    monkeypatch.setattr("ddpnas.fitting.searched.train", short)


@pytest.mark.parametrize("which", ["start", "teacher", "baselines"])
def test_an_interrupted_fit_runs_a_file_only_if_it_is_named_again(data, files, tmp_path, which):
    mine, out = files.write("net.py", 8), tmp_path / "run"
    given = {which: [mine] if which == "baselines" else mine}
    plan = plan_with(tmp_path, **given)
    interrupted(data, out, plan=plan, **given)
    assert files.executed() and FitPlan.read(out).code
    with pytest.raises(RunError) as error:
        resume_fit(out, data=data)
    assert str(error.value).endswith(f"name it to have it executed: --network {mine}")
    with pytest.raises(RunError, match="uses 'network' of its file, not 'other'"):
        resume_fit(out, data=data, networks=[mine.replace(":network", ":other")])
    assert main(["resume", str(out), "--quiet"]) == 2
    assert not files.executed()
    fitted = resume_fit(out, data=data, networks=[mine])
    assert files.executed() and fitted.trained.history


@pytest.mark.parametrize("which", ["start", "teacher"])
def test_a_plan_does_not_make_a_file_run(data, files, tmp_path, which):
    mine = files.write("net.py", 8)
    plan = plan_with(tmp_path, **{which: mine})
    with pytest.raises(RunError, match=f"name it to have it executed: --{which} {mine}"):
        ddpnas.fit(data, plan=plan)
    assert not files.executed()
    assert ddpnas.fit(data, plan=plan, **{which: mine}) and files.executed()


def test_the_baselines_of_a_plan_are_not_trained_unless_named(data, files, tmp_path):
    plan = plan_with(tmp_path, baselines=[files.write("net.py", 8)])
    assert not ddpnas.fit(data, plan=plan).baselines
    assert not files.executed()


def test_code_that_changed_since_is_refused_and_not_run(data, files, tmp_path):
    mine, out = files.write("net.py", 8), tmp_path / "run"
    interrupted(data, out, plan=plan_with(tmp_path, start=mine), start=mine)
    files.write("net.py", 9)
    files.executed()
    with pytest.raises(RunError, match="net.py is no longer that of"):
        resume_fit(out, data=data, networks=[mine])
    with pytest.raises(RunError, match="net.py is no longer that of"):
        ddpnas.fit(data, plan=out / "plan.json", start=mine)
    assert not files.executed()


def test_several_files_are_told_apart_by_their_code(data, files, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    # The same name in two folders, and both folders move.
    both = [files.write("a/net.py", 8), files.write("b/net.py", 6)]
    plan = plan_with(tmp_path, baselines=both)
    unbroken = ddpnas.fit(data, out=whole, plan=plan, baselines=both, export="none")
    interrupted(data, out, plan=plan, baselines=both)
    moved = [one.replace(f"/{folder}/", f"/{folder}2/") for one, folder in zip(both, "ab")]
    for folder in "ab":
        shutil.move(tmp_path / folder, tmp_path / f"{folder}2")
    files.executed()
    with pytest.raises(RunError, match="--network .*a/net.py:network --network .*b/net.py:network"):
        resume_fit(out, data=data, networks=moved[1:])
    with pytest.raises(RunError, match="does not use --network .*c.py:network; leave it out"):
        resume_fit(out, data=data, networks=[*moved, files.write("c.py", 3)])
    assert not files.executed()
    fitted = resume_fit(out, data=data, networks=[*reversed(moved)])
    assert [one.costs for one in fitted.baselines] == [one.costs for one in unbroken.baselines]
    assert equal(fitted, unbroken)


def test_a_fit_without_files_takes_none(data, tmp_path, files):
    out = interrupted(data, tmp_path / "run", plan=plan_with(tmp_path))
    with pytest.raises(RunError, match="does not use --network"):
        resume_fit(out, data=data, networks=[files.write("net.py", 8)])
    assert not files.executed()
