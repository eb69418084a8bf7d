"""Networks that cannot be copied, or that compute their weights, are refused with what to do."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import ddpnas
from ddpnas.errors import SpaceError
from ddpnas.space.copies import copied

COMPUTED = {
    "old weight norm": (weight_norm, r"remove_weight_norm\(layer, 'weight'\)"),
    "pruned": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), r"prune\.remove\(layer"),
    "old spectral norm": (spectral_norm, r"remove_spectral_norm\(layer, 'weight'\)"),
    "weight norm": (parametrizations.weight_norm, r"parametrize\.remove_parametrizations\(layer"),
    "spectral norm": (parametrizations.spectral_norm, r"parametrize\.remove_parametrizations"),
    "orthogonal": (parametrizations.orthogonal, r"parametrize\.remove_parametrizations\(layer"),
}


def network(change):
    layers = [change(nn.Conv2d(1, 16, 3)), nn.ReLU(), change(nn.Conv2d(16, 16, 3)), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.filterwarnings("ignore")  # torch's, on the older ones
@pytest.mark.parametrize(("change", "advice"), COMPUTED.values(), ids=COMPUTED)
def test_computed_weights_are_refused_by_a_shrink_with_what_to_type(change, advice, stripes):
    options = {"epochs": 1, "device": "cpu"}
    with pytest.raises(SpaceError, match=f"layer 0 computes its weight, so make it .*{advice}"):
        ddpnas.shrink(network(change), stripes, {"macs": "60%"}, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "use",
    [
        lambda model, data: ddpnas.count_network(model, (1, 8, 8)),
        lambda model, data: ddpnas.SearchSpace(
            ddpnas.replaceable(model, {"1": {"tanh": nn.Tanh}}), (1, 8, 8)
        ),
        lambda model, data: ddpnas.train(
            network(lambda layer: layer), data, epochs=1, teacher=model, device="cpu"
        ),
        lambda model, data: ddpnas.train(model, data, epochs=1, device="cpu"),  # with averages
    ],
)
def test_a_network_that_cannot_be_copied_is_refused_wherever_it_is(use, stripes):
    with pytest.raises(SpaceError, match="Sequential cannot be copied; layer 0 computes"):
        use(network(weight_norm), stripes)


def test_the_reason_is_named_where_nothing_else_is_known():
    module = nn.Linear(2, 2)
    module.lock = threading.Lock()
    with pytest.raises(SpaceError, match=r"Linear cannot be copied; copy\.deepcopy refuses it: "):
        copied(module)


def test_other_errors_stay_what_they_are():
    class Exhausted(nn.Linear):
        def __deepcopy__(self, memo):
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        copied(Exhausted(2, 2))
