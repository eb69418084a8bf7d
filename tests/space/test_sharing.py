"""Modules and weights that stand in several places stay shared, from the space to its networks."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from ddpnas import SearchSpace, count_costs, count_network, replaceable
from ddpnas.errors import SpaceError


def own(network):
    return sum(p.numel() for p in network.parameters())


def agrees(space, dtype=torch.float32):
    """Check that costs, supernet and built networks of all architectures agree."""
    torch.manual_seed(0)
    costs = count_costs(space)
    supernet = space.supernet().eval()
    shape = (2, *space.input_shape)
    x = torch.randint(0, 5, shape) if dtype == torch.int64 else torch.randn(shape)
    for options in itertools.product(*(decision.options for decision in space.decisions)):
        architecture = space.check(dict(zip((d.name for d in space.decisions), options)))
        supernet.set_path(architecture)
        built = space.build(architecture, weights_from=supernet).eval()
        torch.testing.assert_close(built(x), supernet(x))
        counted = count_network(built, space.input_shape, input_dtype=dtype)
        assert counted["params"] == own(built)
        assert {n: t.cost(architecture) for n, t in costs.items()} == {n: counted[n] for n in costs}
        assert own(built) == sum(p.numel() for p in supernet.path_parameters())


def twice(choose):
    act = nn.PReLU()
    op = {"c1": lambda: nn.Conv2d(4, 4, 1), "c3": lambda: nn.Conv2d(4, 4, 3, padding=1)}
    return nn.Sequential(nn.Conv2d(1, 4, 1), act, choose("op", op), act, nn.Flatten())


def in_options(choose):
    """One module in options of several decisions, and in the open too."""
    conv = nn.Conv2d(4, 4, 3, padding=1)
    ops = {"shared": lambda: conv, "both": lambda: nn.Sequential(conv, nn.ReLU(), conv)}
    own_ops = {**ops, "own": lambda: nn.Conv2d(4, 4, 1)}
    return nn.Sequential(
        nn.Conv2d(1, 4, 1), choose("a", own_ops), choose("b", own_ops), choose("c", own_ops),
        nn.Flatten(),
    )  # fmt: skip


def in_option_and_open(choose):
    conv = nn.Conv2d(4, 4, 3, padding=1)
    ops = {"shared": lambda: conv, "own": lambda: nn.Conv2d(4, 4, 1)}
    return nn.Sequential(nn.Conv2d(1, 4, 1), choose("a", ops), conv, nn.Flatten())


def one_choice_in_two_places(choose):
    op = choose("op", {"c1": lambda: nn.Conv2d(4, 4, 1), "skip": nn.Identity})
    return nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Sequential(op), nn.Sequential(nn.ReLU(), op), nn.Flatten()
    )


class Siamese(nn.Module):
    """Both halves of the input go through one encoder."""

    def __init__(self, choose):
        super().__init__()
        ops = {"c1": lambda: nn.Conv2d(1, 4, 1), "c3": lambda: nn.Conv2d(1, 4, 3, padding=1)}
        self.encoder = nn.Sequential(choose("op", ops), nn.PReLU(), nn.Flatten())
        self.second = self.encoder

    def forward(self, x):
        left, right = x.chunk(2, dim=2)
        return self.encoder(left) - self.second(right)


@pytest.mark.parametrize(
    "network", [twice, in_options, in_option_and_open, one_choice_in_two_places, Siamese]
)
def test_shared_modules_are_one_everywhere(network):
    agrees(SearchSpace(network, (1, 4, 4)))


class Twins(nn.Module):
    """A parameter that one module has under two names."""

    def __init__(self, choose):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.again = self.weight
        self.act = choose("act", {"relu": nn.ReLU, "tanh": nn.Tanh})

    def forward(self, x):
        return self.act(x @ self.weight) @ self.again.T


def test_a_parameter_of_two_names_is_one():
    space = SearchSpace(Twins, (4,))
    agrees(space)
    assert count_costs(space)["params"].cost({"act": "relu"}) == 16


class Gpt(nn.Module):
    """A language model with a head that shares the weights of the embedding."""

    def __init__(self, width=8, vocabulary=12):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.head(self.norm(x + self.mlp(x)))


class WideHead(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, x):
        return functional.relu(self.head(x))


def test_replaceable_unties_nothing():
    model = Gpt()
    space = SearchSpace(
        replaceable(
            model,
            {
                "mlp.1": {"relu": nn.ReLU},
                "head": {
                    "free": lambda: nn.Linear(8, 12, bias=False),
                    "wide": lambda head: WideHead(head),
                },
            },
        ),
        (5,),
        input_dtype=torch.int64,
    )
    agrees(space, torch.int64)
    params = count_costs(space)["params"]
    assert params.cost({"mlp.1": "relu", "head": "original"}) == own(model)
    assert params.cost({"mlp.1": "relu", "head": "wide"}) == own(model)
    assert params.cost({"mlp.1": "relu", "head": "free"}) == own(model) + 8 * 12
    built = space.build({"mlp.1": "relu", "head": "original"})
    assert built.head.weight is built.embedding.weight
    supernet = space.supernet().network
    assert supernet.head.options[0].weight is supernet.embedding.weight
    assert supernet.head.options[2].head.weight is supernet.embedding.weight
    assert model.head.weight is model.embedding.weight
    assert built.head.weight is not model.head.weight


def test_both_ends_of_a_tie_may_be_replaced():
    space = SearchSpace(
        replaceable(
            Gpt(),
            {
                "embedding": {"fresh": lambda: nn.Embedding(12, 8)},
                "head": {"fresh": lambda: nn.Linear(8, 12, bias=False)},
            },
        ),
        (5,),
        input_dtype=torch.int64,
    )
    agrees(space, torch.int64)


def test_one_place_of_a_shared_module_is_replaced():
    act = nn.PReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    space = SearchSpace(replaceable(model, {"3": {"relu": nn.ReLU}}), (4,))
    agrees(space)
    built = space.build({"3": "original"})
    assert built[3] is built[1]
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(SpaceError, match=r"1\.1 is the same module as 0\.1: replace only one"):
        replaceable(
            nn.Sequential(block, block), {"0.1": {"tanh": nn.Tanh}, "1.1": {"tanh": nn.Tanh}}
        )


def test_a_weight_that_too_many_decisions_share_is_refused():
    def network(choose):
        act = nn.PReLU()
        options = {"prelu": lambda: act, "relu": nn.ReLU}
        return nn.Sequential(*(choose(f"act{i}", options) for i in range(14)))

    with pytest.raises(SpaceError, match="among options of 14 decisions .*too many to count"):
        count_costs(SearchSpace(network, (4,)))
