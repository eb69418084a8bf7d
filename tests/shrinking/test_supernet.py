"""A supernet of an existing network: paths are the smaller networks, and a search trains them."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import SpaceError
from ddpnas.shrinking import order_channels
from ddpnas.space.supernet import Supernet

from .networks import ALL, INPUT, Concat, Shuffled, conv, images, trained


def ordered(kind):
    space = ddpnas.shrinkable(trained(kind()), INPUT, divisor=4)
    space.order = order_channels(space.model, space.groups, "consumers")
    return space


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in (Concat, Shuffled)])
def test_a_path_is_the_network_with_the_most_important_channels(kind):
    space, rng = ordered(kind), np.random.default_rng(0)
    supernet = space.supernet().train()
    for _ in range(3):
        architecture = space.sample(rng)
        supernet.set_path(architecture)
        with torch.no_grad():
            found, expected = supernet(images()), space.build(architecture).train()(images())
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [Concat, Shuffled])
def test_channels_that_do_not_come_first_in_a_layer_are_refused(kind):
    with pytest.raises(SpaceError, match=r"no supernet: the channels made by .*'continued'"):
        ordered(kind).supernet()


@pytest.fixture
def space(stripes):
    torch.manual_seed(0)
    layers = [conv(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return ddpnas.shrinkable(nn.Sequential(*layers, nn.Linear(8, 3)), (1, 8, 8), divisor=4)


def scores(result):
    return {r["architecture"]["0"]: r["accuracy"] for r in result.history}


def test_a_search_starts_from_the_weights_of_the_network(space, stripes):
    options = {"training": "sandwich", "proxy_weight": 0.0, "eval_batch_size": 1000}
    untrained = ddpnas.search(
        space, stripes, "random", strategy_options={"evaluations": 2},
        evaluator_options={**options, "warmup_epochs": 0}, device="cpu",
    )  # fmt: skip
    loader = ddpnas.data.loader.Loader(stripes, [stripes.valid], torch.device("cpu"))
    inputs, labels = next(loader.eval_batches(1000))
    for width, accuracy in scores(untrained).items():
        network = Supernet(space.build({"0": width})).eval()
        with torch.no_grad():
            right = (network(inputs).argmax(1) == labels).float().mean()
        assert accuracy == pytest.approx(float(right))
    before = space.model[0].weight.clone()
    searched = ddpnas.search(
        space, stripes, "random", strategy_options={"evaluations": 2},
        evaluator_options={**options, "warmup_epochs": 2, "lr": 0.05}, device="cpu",
    )  # fmt: skip
    assert torch.equal(space.model[0].weight, before)
    limits = {"macs": 0.6 * ddpnas.count_costs(space)["macs"].cost({"0": "8"})}
    found = ddpnas.generate(searched.distribution, space, limits, ddpnas.count_costs(space))
    assert dict(found.architecture) == {"0": "4"}


@pytest.mark.parametrize("evaluator", ["standalone", "continued"])
def test_evaluators_that_train_each_network_start_from_its_weights(space, stripes, evaluator):
    with torch.no_grad():
        space.model[-1].bias[1] = 50.0  # so that few answers are right: one epoch does not undo it
    result = ddpnas.search(
        space, stripes, "random", strategy_options={"evaluations": 1}, evaluator=evaluator,
        evaluator_options={"epochs": 1, "recipe": "finetune"}, device="cpu",
    )  # fmt: skip
    assert result.history[0]["loss"] > 20
