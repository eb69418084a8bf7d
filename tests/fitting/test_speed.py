"""Speed of a fit: what measuring does to what is measured."""

from __future__ import annotations

import torch

import ddpnas
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
