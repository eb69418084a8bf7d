"""Options of a training, trackers, and several processes that train one network."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import OptionError

from ..conftest import striped_images

# GroupNorm instead of BatchNorm, whose statistics are those of each process's share of a batch.
SPACE = """
from torch import nn

def network(choose, num_classes=3, input_shape=(1, 8, 8)):
    conv = lambda k: nn.Conv2d(1, 6, k, padding=k // 2)
    return nn.Sequential(choose("op", {"conv1": lambda: conv(1), "conv3": lambda: conv(3)}),
        nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(24, num_classes))
"""
TEACHER = """
from torch import nn

def network(num_classes=3):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_a_training_leaves_a_callers_own_accelerator_alone(small_space, stripes):
    from accelerate import Accelerator

    mine = Accelerator(cpu=True)
    network = small_space.build(small_space.sample(np.random.default_rng(0)))
    recipe = Recipe(epochs=1, batch_size=32)
    ddpnas.train(network, stripes, recipe, device="cpu", mixed_precision="bf16")
    assert mine.mixed_precision == "no" and mine.device.type == "cpu"


@pytest.mark.parametrize(
    "options, says",
    [
        ({"mixed_precision": "bf61"}, "did you mean 'bf16'"),
        ({"mixed_precision": "fp16"}, "fp16 needs an accelerator.*try bf16"),
        ({"track": "tensorbord"}, "did you mean 'tensorboard'"),
        ({"track": "tensorboard"}, "needs a folder"),
        ({"sead": 3}, "did you mean 'seed'"),
        ({"seed": -3}, "seed"),
    ],
)
def test_what_is_not_known_or_not_possible_is_refused(stripes, options, says):
    with pytest.raises(OptionError, match=says):
        ddpnas.train(nn.Linear(8, 3), stripes, **{"device": "cpu", **options})


def test_an_absent_tracker_says_what_to_install(stripes, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install mlflow"):
        ddpnas.train(nn.Linear(8, 3), stripes, device="cpu", track="mlflow", folder=tmp_path)


def test_a_tracker_follows_the_training(small_space, stripes, tmp_path):
    pytest.importorskip("tensorboard")
    network = small_space.build(small_space.sample(np.random.default_rng(0)))
    recipe = Recipe(epochs=2, batch_size=32)
    result = ddpnas.train(
        network, stripes, recipe, device="cpu", track="tensorboard", folder=tmp_path
    )  # fmt: skip
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = [p for p in tmp_path.rglob("events*") if p.parent.name == "ddpnas"]
    read = EventAccumulator(str(events.parent)).Reload()
    losses = [event.value for event in read.Scalars("loss")]
    assert losses == pytest.approx([record["loss"] for record in result.history])


def test_an_interrupted_training_closes_its_tracker(stripes, monkeypatch, tmp_path):
    finished = []

    class Accelerator:
        def __init__(self, **options):
            self.trackers = [self]

        def init_trackers(self, *given, **options): ...
        def log(self, *given, **options): ...
        def finish(self):
            finished.append(True)

    def interrupt(record):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr("accelerate.Accelerator", Accelerator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(KeyboardInterrupt):
        ddpnas.train(
            network, stripes, Recipe(epochs=2), device="cpu", track="mlflow", folder=tmp_path,
            on_epoch=interrupt,
        )  # fmt: skip
    assert finished


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "teacher.py").write_text(TEACHER)
    images, labels = striped_images(96)
    test_images, test_labels = striped_images(30, seed=1)
    np.savez(
        tmp_path / "stripes.npz", train_images=images[:, 0], train_labels=labels,
        test_images=test_images[:, 0], test_labels=test_labels,
    )  # fmt: skip
    words = [
        "train", "--space", f"{tmp_path / 'space.py'}:network", "--architecture", "op=conv3",
        "--data", str(tmp_path / "stripes.npz"), "--epochs", "3", "--device", "cpu",
        "--recipe-options.batch-size", "24", "--recipe-options.cutout", "2",
        "--teacher", f"{tmp_path / 'teacher.py'}:network",
    ]  # fmt: skip
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launch, "--nproc-per-node", "2", "-m", "ddpnas", *words, "--out", tmp_path / "two"],
        check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept in") == 1  # the first process alone prints and writes
    from ddpnas.cli import main

    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    figures = [
        json.loads((tmp_path / name / "result.json").read_text())["networks"][0]
        for name in ("one", "two")
    ]
    assert figures[0]["confusion"] == figures[1]["confusion"]
    assert [r["loss"] for r in figures[0]["history"]] == pytest.approx(
        [r["loss"] for r in figures[1]["history"]], rel=1e-4
    )
