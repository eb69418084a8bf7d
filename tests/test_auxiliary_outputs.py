"""Networks that return a tuple while they train: auxiliary outputs behind their own."""

import math

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.evaluators import RMIConfig, RMIEvaluator, SupernetConfig, SupernetEvaluator


class Net(nn.Module):
    def __init__(self, stem, width=32, auxiliary=True):
        super().__init__()
        self.stem, self.body = stem, nn.Conv2d(width, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 3)
        self.auxiliary = nn.Linear(width, 3) if auxiliary else None

    def forward(self, x):
        first = self.stem(x).relu()
        output = self.head(self.body(first).relu().mean((2, 3)))
        if self.auxiliary is None or not self.training:
            return output
        return output, self.auxiliary(first.mean((2, 3)))


def network(choose, auxiliary=True):
    width = choose.width("width", (16, 32))
    options = {f"conv{k}": lambda k=k: nn.Conv2d(1, width, k, padding=k // 2) for k in (1, 3)}
    return Net(choose("stem", options), width, auxiliary)


def trained_by(training):
    config = SupernetConfig(warmup_epochs=2, batch_size=16, training=training)
    return lambda space, data: SupernetEvaluator(space, data, 4, config, device="cpu")


def next_to_a_teacher(space, data):
    teacher = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return RMIEvaluator(space, data, RMIConfig(steps=2), device="cpu", teacher=teacher)


@pytest.mark.parametrize("make", [trained_by("fair"), trained_by("sandwich"), next_to_a_teacher])
def test_scores_are_those_without_auxiliary_heads(stripes, make):
    def scores(auxiliary):
        torch.manual_seed(0)
        space = ddpnas.SearchSpace(network, stripes.input_shape, auxiliary=auxiliary)
        evaluator = make(space, stripes)
        for _ in evaluator.prepare([]):
            pass
        paths = [space.decode((i, j)) for i in (0, 1) for j in (0, 1)]
        return [found.score for found in evaluator.evaluate(paths)]

    assert scores(auxiliary=True) == scores(auxiliary=False)


@pytest.mark.parametrize("sieve", ["all", "entropy"])
@pytest.mark.parametrize("order", [1, 2])
def test_a_mixture_of_such_networks_is_searched(stripes, order, sieve):
    space = ddpnas.SearchSpace(network, stripes.input_shape)
    options = {"epochs": 2, "order": order}
    found = ddpnas.search(
        space, stripes, "darts", strategy_options=options, sieve=sieve, device="cpu"
    )
    assert all(math.isfinite(record["score"]) for record in found.history)


@pytest.mark.parametrize("method", ["sensitivity", "pas"])
def test_such_a_network_is_made_smaller(stripes, method):
    given = Net(nn.Conv2d(1, 32, 3, padding=1))
    found = ddpnas.shrink(given, stripes, {"macs": "60%"}, method=method, epochs=1, device="cpu")
    assert found.costs["macs"] <= 0.6 * found.given_costs["macs"]
