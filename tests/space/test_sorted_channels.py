"""Channels sorted by importance: what changes, what does not, and where it is impossible."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import SearchSpace
from ddpnas.space.sorted_channels import sort_channels


class Block(nn.Module):
    """A convolution, a depthwise one and another, with widths of two decisions."""

    def __init__(self, choose, mix=nn.Identity):
        super().__init__()
        stream, hidden = choose.width("stream", (2, 4)), choose.width("hidden", (3, 6, 9))
        self.stem = nn.Conv2d(1, stream, 3)
        self.expand = nn.Conv2d(stream, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.mix = mix()
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, stream, 1)
        self.head = nn.Linear(stream, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.depthwise(self.mix(self.norm(self.expand(x)).relu()))
        return self.head((x + self.project(y)).mean(dim=(2, 3)))


VALUES = {"stream": (2, 4), "hidden": (3, 6, 9)}


def supernet_of(mix=nn.Identity):
    return SearchSpace(Block, (1, 6, 6), mix=mix, name="block").supernet(seed=0)


def outputs(supernet, x):
    supernet.set_path({"stream": "4", "hidden": "9"})
    with torch.no_grad():
        return supernet.train()(x)


def test_the_widest_network_stays_and_narrow_ones_get_the_important_channels():
    supernet, x = supernet_of(), torch.randn(4, 1, 6, 6)
    before = outputs(supernet, x)
    found = supernet.network
    strong = [7, 1, 8]
    supernet.slices.unset()
    with torch.no_grad():
        found.project.weight[:, strong] *= 100.0
    before = outputs(supernet, x)
    supernet.slices.unset()
    old = {n: p.detach().clone() for n, p in found.named_parameters()}
    assert sort_channels(supernet, VALUES, ["hidden"], (1, 6, 6))
    torch.testing.assert_close(outputs(supernet, x), before, rtol=1e-4, atol=1e-4)
    supernet.slices.unset()
    importance = found.project.weight.detach().abs().sum(dim=(0, 2, 3))
    assert (importance.diff() <= 0).all() and importance[2] > 10 * importance[3]
    order = old["project.weight"].abs().sum(dim=(0, 2, 3)).argsort(descending=True)
    assert set(order[:3].tolist()) == set(strong)
    for name in ("expand.weight", "norm.bias", "depthwise.weight", "depthwise.bias"):
        assert torch.equal(dict(found.named_parameters())[name], old[name][order]), name
    for name in ("stem.weight", "head.weight", "project.bias"):
        assert torch.equal(dict(found.named_parameters())[name], old[name]), name


def test_momentum_is_sorted_like_its_weights():
    supernet = supernet_of()
    parameters = dict(supernet.named_parameters())
    momenta = {id(p): p.detach().clone() for p in parameters.values()}
    assert sort_channels(
        supernet, VALUES, ["hidden", "stream"], (1, 6, 6), lambda p: momenta.get(id(p))
    )
    for name, parameter in parameters.items():
        assert torch.equal(parameter, momenta[id(parameter)]), name


class Reversed(nn.Module):
    def forward(self, x):
        return x.flip(1)


def test_channels_that_a_layer_reorders_stay_where_they_are(caplog):
    supernet = supernet_of(Reversed)
    before = {n: p.detach().clone() for n, p in supernet.named_parameters()}
    with caplog.at_level(logging.WARNING):
        assert not sort_channels(supernet, VALUES, ["hidden"], (1, 6, 6))
    assert "they stay unsorted" in caplog.text
    assert all(torch.equal(p, before[n]) for n, p in supernet.named_parameters())


@pytest.mark.parametrize(("opening", "sorts"), [("expansion", True), ("kernel", False)])
def test_the_expansions_of_once_for_all_are_sorted_and_kernels_are_not(opening, sorts):
    space = ddpnas.create_space(
        "elastic-mobilenet-v3", width=0.25, depths=(1, 2), num_classes=3, input_shape=(1, 16, 16),
        reduction=4,
    )  # fmt: skip
    supernet = space.supernet(seed=0)
    values = {d.name: d.values for d in space.decisions if d.values is not None}
    names = [name for name in values if opening in name]
    assert len(names) == 10
    before = [p.detach().clone() for p in supernet.parameters()]
    assert sort_channels(supernet, values, names, (1, 16, 16)) == sorts
    moved = [not torch.equal(p, old) for p, old in zip(supernet.parameters(), before, strict=True)]
    assert any(moved) == sorts
    path = space.sample(np.random.default_rng(0))
    supernet.set_path(path)
    images = torch.randn(4, 1, 16, 16)
    built = space.build(path, weights_from=supernet).train()
    with torch.no_grad():
        assert torch.equal(supernet.train()(images), built(images))
