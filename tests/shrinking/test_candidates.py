"""Candidates within limits are scored as whole networks."""

import pytest
import torch

import ddpnas
from ddpnas.shrinking import measure_sensitivity, recalibrate, score_candidates
from ddpnas.shrinking.sensitivity import batches_of, mean_loss

from .networks import conv, trained


@pytest.fixture(scope="module")
def shrunk(stripes):
    torch.manual_seed(0)
    layers = [conv(1, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU(), conv(32, 32, 3)]
    head = [torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    network = trained(torch.nn.Sequential(*layers, *head, torch.nn.Linear(32, 3)))
    space = ddpnas.shrinkable(network, stripes.input_shape)
    return space, measure_sensitivity(space, stripes), ddpnas.count_costs(space)


def test_candidates_are_within_limits_and_scored_as_they_are(shrunk, stripes):
    space, sensitivity, costs = shrunk
    full = costs["macs"].cost({"0": "32", "3": "32"})
    limits = {"macs": full / 2, "params": 5000}
    found = score_candidates(space, stripes, sensitivity, limits, costs, candidates=4)
    assert len(found) == 4
    assert [c.loss for c in found] == sorted(c.loss for c in found)
    device = torch.device("cpu")
    for candidate in found:
        assert candidate.costs["macs"] <= full / 2 and candidate.costs["params"] <= 5000
        rises = [sensitivity.rises[pair] for pair in candidate.architecture.items()]
        assert candidate.predicted == pytest.approx(sum(rises))
        network = space.build(candidate.architecture)
        recalibrate(network, batches_of(stripes, stripes.train, 500, 0, device))
        loss = mean_loss(network, batches_of(stripes, stripes.valid, 500, 0, device))
        assert candidate.loss == pytest.approx(loss)
