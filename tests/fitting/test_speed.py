"""Speed of a fit: what measuring does to what is measured."""

from __future__ import annotations

import pytest
import torch

import ddpnas
from ddpnas.fitting import speed
from ddpnas.fitting.sizing import trial_epoch
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.training.recipes import create_recipe


def test_measuring_an_epoch_leaves_the_network_as_it_was() -> None:
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=100)
    space = ddpnas.create_space("toy", input_shape=data.input_shape, num_classes=10)
    network = space.build(space.decode([0, 0, 0, 0]))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert epoch_seconds(network, data, create_recipe("quick"), "cpu") > 0
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("took", "choose", "threads"),
    [
        ({1: 2.0, 3: 1.0}, True, 3),
        ({1: 1.0, 3: 2.0}, True, 1),  # as beside other busy programs
        ({3: 2.0}, False, 3),  # with one thread it is not even tried
    ],
)
def test_a_trial_chooses_all_threads_or_one(monkeypatch, took, choose, threads) -> None:
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=100)
    space = ddpnas.create_space("toy", input_shape=data.input_shape, num_classes=10)
    monkeypatch.setattr(speed, "epoch_seconds", lambda *given: took[torch.get_num_threads()])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        recipe, one = create_recipe("quick"), space.decode([0, 0, 0, 0])
        each = trial_epoch(space, one, data, recipe, "cpu", choose_threads=choose)
        assert (each, torch.get_num_threads()) == (took[threads], threads)
    finally:
        torch.set_num_threads(before)


def test_a_trial_that_runs_out_of_memory_leaves_the_choice_of_threads(monkeypatch) -> None:
    def measure(*given):
        raise MemoryError

    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=100)
    monkeypatch.setattr(speed, "epoch_seconds", measure)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(MemoryError):
            speed.epoch_seconds_by_threads(
                torch.nn.Linear(2, 2), data, create_recipe("quick"), "cpu", choose=True
            )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
