"""A training through a sieve: what it reads, its schedule, its resume, and what it refuses."""

from typing import ClassVar

import pytest
import torch
from torch.utils.data import Dataset

import ddpnas
from ddpnas.data import SieveConfig
from ddpnas.errors import OptionError, RunError
from ddpnas.training.session import Session


def data(n=400):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    inputs = torch.eye(6)[labels] + 0.7 * torch.randn(n, 6, generator=generator)
    return ddpnas.make_data((inputs, labels))


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(6, 4)


def train(sieve="all", options=None, **more):
    return ddpnas.train(
        network(), data(), epochs=8, device="cpu", sieve=sieve, sieve_options=options or {}, **more
    )


@pytest.mark.parametrize("name", ["random", "dynamics", "entropy", "curriculum"])
def test_epochs_read_what_was_planned_and_the_learning_rate_falls_to_the_end(name):
    found = train(name)
    steps = [record["images"] // 16 for record in found.history]
    assert steps[0] == 20 and steps == [round(320 * r["share"]) // 16 for r in found.history]
    plain = [record["lr"] for record in train().history]
    assert [record["lr"] for record in found.history] == plain


class Watched(Dataset):
    """The same items, streamed; it notes which are read."""

    def __init__(self):
        split = data().train
        self.inputs, self.labels, self.read = split.inputs, split.labels, []

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.read.append(index)
        return self.inputs[index], int(self.labels[index])


def test_nothing_outside_of_what_is_kept_is_read():
    """What a random sieve keeps follows from labels, epochs and seed alone."""
    watched, epochs = Watched(), []
    images = ddpnas.make_data(watched)
    train_items = set(images.train.indices.tolist())
    watched.read.clear()

    def note(record):
        epochs.append([index for index in watched.read if index in train_items])
        watched.read.clear()

    ddpnas.train(
        network(), images, epochs=8, device="cpu", sieve="random", seed=5, on_epoch=note,
        sieve_options={"keep": 0.3},
    )  # fmt: skip
    sieve = SieveConfig("random", {"keep": 0.3}).create(images.train.labels, 8, 5)
    for read in epochs:
        kept = images.train.indices[sieve.kept].tolist()
        assert set(read) <= set(kept) and len(read) == len(kept) // 16 * 16
        sieve.end_epoch()
    assert len(epochs) == 8 and len(kept) == round(0.3 * len(train_items))


@pytest.mark.parametrize("name", ["random", "dynamics", "curriculum"])
def test_an_interrupted_training_goes_on_to_the_same_weights(name, tmp_path):
    unbroken = train(name)

    def stop(record):
        if record["epoch"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(name, folder=tmp_path, on_epoch=stop)
    resumed = train(name, folder=tmp_path, resume=True)
    assert torch.equal(unbroken.model.weight, resumed.model.weight)
    with pytest.raises(RunError, match="sieve was"):
        train("all", folder=tmp_path, resume=True)


def test_a_training_that_is_too_slow_counts_on_shorter_epochs_to_come(monkeypatch):
    """Epochs of all images take a second each: 8 planned ones, of 0.4 after the first, fit in 5."""
    options = {"keep": 0.4, "warmup": 0.1, "steps": 1}
    taken = []

    def epoch(self, number):
        share = len(self._train) / len(self._train.labels)
        self._train.sieve.end_epoch()
        taken.append(share)
        return {"epoch": number + 1, "loss": 1.0, "lr": 0.1, "share": share, "seconds": share}

    monkeypatch.setattr(Session, "_epoch", epoch)
    train("random", options, seconds=5.0)
    assert taken == [1.0, *[0.4] * 7]


@pytest.mark.parametrize(
    ("name", "options", "recipe", "says"),
    [
        ("dynamics", {}, {"mixup": 0.2}, "this recipe mixes images"),
        ("random", {"valid_keep": 0.5}, {}, "valid_keep is for searches"),
        ("random", {"keep": 0.01}, {"batch_size": 64}, "fewer than a batch"),
    ],
)
def test_a_training_says_why_a_sieve_cannot_run(name, options, recipe, says):
    recipe = ddpnas.training.create_recipe("quick", **recipe)
    with pytest.raises(OptionError, match=says):
        ddpnas.train(network(), data(), recipe, epochs=2, sieve=name, sieve_options=options)


class Felt(torch.nn.Linear):
    """A layer that notes which of its outputs every step moves."""

    moved: ClassVar[list[list[int]]] = []

    def forward(self, x):
        def note(gradient):
            self.moved.append(gradient.abs().sum(dim=0).nonzero()[:, 0].tolist())

        outputs = super().forward(x)
        if outputs.requires_grad:
            outputs.register_hook(note)
        return outputs


def test_an_absent_class_takes_no_part_in_the_training():
    Felt.moved.clear()
    found = ddpnas.train(
        Felt(6, 4), data(), epochs=8, device="cpu", sieve="curriculum",
        sieve_options={"warmup": 0.25, "classes": [0.5, 0.75, 1]},
    )  # fmt: skip
    steps = iter(Felt.moved)
    numbers = []
    for record in found.history:
        moved = [tuple(next(steps)) for _ in range(record["images"] // 16)]
        assert len(set(moved)) == 1, "the same classes in every step"
        numbers.append(len(moved[0]))
    assert numbers == [4, 4, 2, 2, 3, 3, 4, 4] and next(steps, None) is None


def test_a_teacher_cannot_answer_for_some_classes_alone():
    with pytest.raises(OptionError, match="a teacher answers for all classes"):
        train("curriculum", teacher=network(1))
