"""Constructors that need the values of tensors, lazy modules, and loaded weights."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, count_costs, count_network
from ddpnas.errors import SpaceError
from ddpnas.space.meta import move_to_meta


def rates_item():
    return [r.item() for r in torch.linspace(0, 0.2, 3)]


def rates_tolist():
    return torch.linspace(0, 0.2, 3).tolist()


def rates_float():
    return [float(r) for r in torch.linspace(0, 0.2, 3)]


def rates_numpy():
    return torch.linspace(0, 0.2, 3).numpy().astype(float)


def rates_asarray():
    return np.asarray(torch.linspace(0, 0.2, 3))


def rates_compared():
    rates = torch.linspace(0, 0.2, 3)
    return [0.1 if rate > 0.15 else 0.0 for rate in rates]


def rates_int():
    return [int(r) / 10 for r in torch.arange(3)]


def rates_nonzero():
    return [float(len(torch.linspace(0, 0.2, 3).nonzero())) / 10] * 3


def rates_equal():
    return [0.1 if torch.equal(torch.ones(1), torch.ones(1)) else 0.2] * 3


@pytest.mark.parametrize(
    "rates",
    [
        rates_item,
        rates_tolist,
        rates_float,
        rates_numpy,
        rates_asarray,
        rates_compared,
        rates_int,
        rates_nonzero,
        rates_equal,
    ],
)
def test_constructors_may_read_numbers_from_tensors(rates):
    """Most vision transformers compute their drop path rates so."""

    def network(choose):
        blocks = []
        for i, rate in enumerate(rates()):
            ops = {"gelu": nn.GELU, "mlp": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU())}
            blocks += [choose(f"block{i}", ops), nn.Dropout(float(rate))]
        return nn.Sequential(*blocks, nn.Linear(4, 2))

    torch.manual_seed(3)
    space = SearchSpace(network, (4,))
    path = {f"block{i}": "mlp" for i in range(3)}
    assert count_costs(space)["params"].cost(path) == 3 * 20 + 10
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))
    with torch.device("meta"):
        assert count_network(space.build(path), (4,))["params"] == 70


def test_an_error_of_the_constructor_is_told_as_it_is():
    def network(choose):
        torch.zeros(1).item()
        raise ValueError("depth must be even")

    with pytest.raises(SpaceError, match="depth must be even"):
        SearchSpace(network, (4,))


def test_buffers_made_of_arrays_or_as_plain_attributes_move_along():
    class Scaled(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.register_buffer("scale", torch.from_numpy(np.ones(4, dtype=np.float32)))
            self.shift = torch.from_numpy(np.ones(4, dtype=np.float32))
            self.op = choose("op", {"relu": nn.ReLU, "skip": nn.Identity})

        def forward(self, x):
            return self.op(x * self.scale + self.shift)

    space = SearchSpace(Scaled, (4,))
    assert count_costs(space)["size_bytes"].cost({"op": "relu"}) == 16
    assert count_network(space.build({"op": "relu"}), (4,))["size_bytes"] == 16


def lazy(choose):
    options = {
        "conv": lambda: nn.LazyConv2d(6, 3, padding=1),
        "bn": lambda: nn.Sequential(nn.LazyConv2d(6, 1), nn.LazyBatchNorm2d()),
    }
    return nn.Sequential(
        nn.LazyConv2d(4, 3), choose("op", options), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )


def test_lazy_modules_have_their_shapes_from_a_first_run():
    space = SearchSpace(lazy, (3, 6, 6))
    torch.manual_seed(0)
    supernet = space.supernet()
    images = torch.randn(2, 3, 6, 6)
    for option in ("conv", "bn"):
        supernet.set_path({"op": option})
        built = space.build({"op": option}, weights_from=supernet)
        assert not any(nn.parameter.is_lazy(p) for p in built.parameters())
        torch.testing.assert_close(built(images), supernet(images))
        cost = count_costs(space)["params"].cost({"op": option})
        assert cost == sum(p.numel() for p in built.parameters())
    assert built.training


def test_the_first_run_of_lazy_modules_leaves_running_statistics_alone():
    built = SearchSpace(lazy, (3, 6, 6)).build({"op": "bn"})
    assert built[1][1].running_mean.tolist() == [0.0] * 6
    assert built[1][1].num_batches_tracked == 0


def test_a_function_that_loads_weights_warns_of_nothing():
    torch.manual_seed(0)
    weights = nn.Linear(4, 4).state_dict()

    def network(choose):
        first = nn.Linear(4, 4)
        first.load_state_dict(weights)
        return nn.Sequential(first, choose("op", {"relu": nn.ReLU, "skip": nn.Identity}))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = SearchSpace(network, (4,))
        count_costs(space)
    built = space.build({"op": "skip"})
    assert torch.equal(built[0].weight, weights["weight"])


def test_moving_to_meta_keeps_the_kind_of_every_tensor():
    module = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2), nn.BatchNorm1d(2))
    module[0].weight.requires_grad_(False)
    moved = move_to_meta(module)
    assert {t.device.type for t in [*moved.parameters(), *moved.buffers()]} == {"meta"}
    assert not moved[0].weight.requires_grad and moved[0].bias.requires_grad
    assert moved(torch.zeros(3, 2, device="meta")).shape == (3, 2)


def test_parametrized_layers_keep_their_weights():
    def network(choose):
        norm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        return nn.Sequential(norm, choose("op", {"relu": nn.ReLU, "skip": nn.Identity}))

    space = SearchSpace(network, (4,))
    supernet = space.supernet()
    supernet.set_path({"op": "relu"})
    built = space.build({"op": "relu"}, weights_from=supernet)
    x = torch.randn(2, 4)
    torch.testing.assert_close(built(x), supernet(x))
    assert count_costs(space)["params"].cost({"op": "relu"}) == 24


def test_an_initialization_that_torch_refuses_is_refused_without_values_too():
    class Own(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(4)))
            self.layer = choose("layer", {"relu": nn.ReLU, "skip": nn.Identity})

        def forward(self, x):
            return self.layer(x * self.weight)

    with pytest.raises(SpaceError, match="fewer than 2 dimensions"):
        SearchSpace(Own, (4,))
