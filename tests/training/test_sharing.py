"""Weights that several modules share: in checkpoints, averages and the folder of a network."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

import ddpnas
from ddpnas import SearchSpace
from ddpnas.training import save_networks
from ddpnas.training._timm_parts import average_of
from ddpnas.training.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    with_prefix,
    without_prefix,
)
from ddpnas.training.recipes import Recipe


class Tied(nn.Module):
    """A PReLU under two names, and two linear layers of one weight."""

    def __init__(self, choose=None):
        super().__init__()
        self.first = self.second = nn.PReLU(8)
        self.stem = nn.Conv2d(1, 8, 3)
        op = {"c1": lambda: nn.Conv2d(8, 8, 1), "skip": nn.Identity}
        self.op = nn.Identity() if choose is None else choose("op", op)
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.second(self.op(self.first(self.stem(x)))).mean((2, 3))
        return self.head(self.other(torch.relu(self.one(x))))


@pytest.fixture(scope="module")
def data():
    images = torch.randint(0, 256, (60, 1, 6, 6), dtype=torch.uint8)
    return ddpnas.make_data((images, torch.arange(60) % 2))


def names_in(path):
    with safe_open(path, "pt") as file:
        return set(file.keys())


def test_a_checkpoint_holds_a_shared_tensor_once_and_gives_it_back_under_every_name(tmp_path):
    torch.manual_seed(0)
    supernet = SearchSpace(Tied, (1, 6, 6)).supernet()
    state = supernet.state_dict()
    save_checkpoint(tmp_path / "a", with_prefix("supernet", state), {"epochs": 1})
    assert len(names_in(tmp_path / "a")) == len(state) - 2
    tensors, plain = load_checkpoint(tmp_path / "a")
    loaded = without_prefix("supernet", tensors)
    assert plain == {"epochs": 1} and loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    other = SearchSpace(Tied, (1, 6, 6)).supernet()
    other.load_state_dict(loaded)
    assert other.network.one.weight is other.network.other.weight


def test_parts_of_one_memory_are_saved_each(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    weights = {"whole": whole, "row": whole[1], "column": whole[:, 1], "turned": whole.T}
    save_weights(tmp_path / "a", weights)
    loaded = load_weights(tmp_path / "a")
    assert {name: t.tolist() for name, t in loaded.items()} == {
        name: t.tolist() for name, t in weights.items()
    }


def test_an_average_moves_a_shared_weight_once_in_a_step():
    model = Tied()
    average = average_of(model, Recipe(ema=0.75), 1000)
    with torch.no_grad():
        for parameter in average.module.parameters():
            parameter.zero_()
        for parameter in model.parameters():
            parameter.fill_(1.0)
    average.update(model)
    moved = {name: p.flatten()[0].item() for name, p in average.module.named_parameters()}
    assert set(moved.values()) == {0.25}


def test_a_trained_network_keeps_its_ties_in_its_folder(tmp_path, data):
    space = SearchSpace(Tied, (1, 6, 6))
    options = {"epochs": 2, "device": "cpu", "folder": tmp_path / "checkpoints"}
    networks = ddpnas.compare(space, {"op": "c1"}, data, random=0, **options)
    save_networks(tmp_path / "trained", space, networks)
    trained = networks[0].result.model
    names = names_in(tmp_path / "trained" / "model.safetensors")
    assert len(names) == len(trained.state_dict()) - 2
    loaded = ddpnas.load(tmp_path / "trained", space=space).network
    assert loaded.first is loaded.second and loaded.one.weight is loaded.other.weight
    assert networks[0].costs["params"] == sum(p.numel() for p in loaded.parameters())
    images = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(loaded(images), trained.cpu().eval()(images))
    again = ddpnas.compare(space, {"op": "c1"}, data, random=0, resume=True, **options)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            trained.state_dict().values(), again[0].result.model.state_dict().values(), strict=True
        )
    )
