"""Networks that do not fit the data, and arguments in another order: one sentence each."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.training.recipes import Recipe


class Failing(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.linear, self.after, self.calls = nn.Linear(4, 3), after, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise RuntimeError("no more")
        return self.linear(x)


@pytest.fixture
def data():
    return ddpnas.make_data((torch.randn(30, 4), torch.arange(30) % 3), name="thirty")


def trained(model, data, **options):
    return ddpnas.train(model, data, epochs=1, device="cpu", **options)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Linear(4, 2), "network has 2 outputs; one for each of the 3 classes of thirty is need"),
        (nn.Linear(4, 9), "network has 9 outputs; .*: give its last layer 3"),
        (nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), "has 3x1 outputs"),
        (nn.Linear(5, 3), r"fails on inputs of shape 4, those of thirty: RuntimeError: mat1 and"),
        (Failing(0), "shape 4, those of thirty: RuntimeError: no more; build it for that shape"),
        (nn.LSTM(4, 3, proj_size=2), "network has 2 outputs"),
        ("resnet18", "model of train.. must be a torch.nn.Module, not 'resnet18'"),
        (nn.Linear, "must be a torch.nn.Module, not the class Linear"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(model, data, says):
    with pytest.raises(OptionError, match=says):
        trained(model, data)


def test_a_network_and_data_in_another_order_are_refused(data):
    with pytest.raises(OptionError, match="not a ddpnas.data.Data; swap model and data"):
        trained(data, nn.Linear(4, 3))
    with pytest.raises(OptionError, match="must be a torch.nn.Module"):
        trained((torch.zeros(4, 2), [0, 1, 0, 1]), nn.Linear(4, 3))


def test_a_failure_after_the_first_batch_is_the_networks_own(data):
    with pytest.raises(RuntimeError, match="^no more$"):
        trained(Failing(1), data, recipe=Recipe(batch_size=8))


def test_the_check_leaves_nothing_behind(data):
    model = nn.Linear(4, 3)
    result = trained(model, data)
    for network in (model, result.model):
        assert not network._forward_hooks and not network._forward_pre_hooks


def test_a_network_without_parameters_is_refused(data):
    for model in (nn.Flatten(), nn.Linear(4, 3).requires_grad_(False)):
        with pytest.raises(OptionError, match="has no parameters to train"):
            trained(model, data)


def test_arguments_of_another_kind_are_named(data):
    space = ddpnas.create_space("toy", num_classes=3, input_shape=(1, 8, 8))
    theta = ddpnas.JointDistribution.uniform(space.decisions)
    for call, says in (
        (
            lambda: ddpnas.search(data, space),
            "space of search.. must be a ddpnas.space.SearchSpace .*swap space and data",
        ),
        (
            lambda: ddpnas.search(nn.Linear, data),
            "must be a ddpnas.space.SearchSpace .*not the class Linear",
        ),
        (
            lambda: ddpnas.generate(space, theta),
            "distribution of generate.. must be .*, not a .*Space",
        ),
        (lambda: ddpnas.compare("toy", {}, data), "space of compare.. must be .*, not 'toy'"),
        (
            lambda: ddpnas.compare(space, "a=b", data),
            "architecture of compare.. must be a ddpnas.space.Architecture, not 'a=b'",
        ),
        (
            lambda: ddpnas.training.evaluate(nn.Linear(4, 3)),
            "must be a ddpnas.training.TrainedModel, not a torch.nn.Linear",
        ),
        (lambda: ddpnas.count_costs("toy"), "space of count_costs.. must be .*, not 'toy'"),
        (
            lambda: ddpnas.create_strategy(space, "random"),
            "name of create_strategy.. must be text",
        ),
        (
            lambda: ddpnas.create_strategy("random", "toy"),
            "must be a ddpnas.space.DecisionSpace, not 'toy'",
        ),
        (lambda: ddpnas.create_space(5), "name of create_space.. must be text, not 5"),
        (
            lambda: ddpnas.measure_latency("toy"),
            "space of measure_latency.. must be a .*SearchSpace, not 'toy'",
        ),
    ):
        with pytest.raises(OptionError, match=says):
            call()
