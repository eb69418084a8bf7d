"""Cut networks compute what they should, and keep their code."""

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas.errors import ArchitectureError
from ddpnas.shrinking import cut_channels, find_groups
from ddpnas.shrinking.cutting import resize

from .networks import ALL, INPUT, Concat, Grouped, Residual, Shuffled, Tied, images, trained


def tensors(network):
    return dict([*network.named_parameters(), *network.named_buffers()])


@pytest.mark.parametrize("kind", ALL)
def test_another_order_of_channels_changes_nothing(kind):
    network, rng = trained(kind()), np.random.default_rng(0)
    expected = network(images())
    positions = {}
    for group in find_groups(network, INPUT):
        for part in group.parts if group.free else ():
            order = rng.permutation(part.classes)
            for axis, places in part.members.items():
                size = tensors(network)[axis.tensor].shape[axis.index]
                new = positions.setdefault(axis, np.arange(size))
                new[places] = places[order]
    before = network.state_dict()
    resize(network, positions)
    assert any(not torch.equal(t, before[name]) for name, t in network.state_dict().items())
    torch.testing.assert_close(network(images()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Residual, Concat, Grouped, Shuffled, Tied])
def test_channels_that_are_zero_can_go(kind):
    network, rng = trained(kind()), np.random.default_rng(0)
    groups = find_groups(network, INPUT)
    widths, order = {}, {}
    for group in groups:
        if group.is_open:
            widths[group.name] = int(rng.choice(group.widths[:-1]))
            ranks = [rng.permutation(part.classes) for part in group.parts]
            order[group.name] = ranks
            counts = group.counts(widths[group.name])
            for part, ranked, count in zip(group.parts, ranks, counts, strict=True):
                for axis, places in part.members.items():
                    gone = torch.from_numpy(places[ranked[count:]].ravel())
                    with torch.no_grad():
                        tensors(network)[axis.tensor].index_fill_(axis.index, gone, 0.0)
    cut = cut_channels(network, groups, widths, order)
    torch.testing.assert_close(cut(images()), network(images()), rtol=1e-5, atol=1e-5)
    assert sum(t.numel() for t in cut.parameters()) < sum(t.numel() for t in network.parameters())


@pytest.mark.parametrize("kind", ALL)
def test_networks_of_any_widths_run_and_train(kind):
    network, rng = trained(kind()), np.random.default_rng(1)
    groups = find_groups(network, INPUT)
    for _ in range(3):
        cut = cut_channels(network, groups, {g.name: int(rng.choice(g.widths)) for g in groups})
        assert cut(images()).shape == (4, 5)
        output = cut.train()(images())
        sum(out.sum() for out in (output if isinstance(output, tuple) else (output,))).backward()
        assert list(tensors(cut)) == list(tensors(network))


def test_layers_say_how_large_they_are():
    network = Residual()
    cut = cut_channels(network, find_groups(network, INPUT), {"stem.0": 8, "inner.0": 16})
    assert repr(cut.depthwise[0]).startswith("Conv2d(16, 16,") and cut.depthwise[0].groups == 16
    assert cut.stem[1].num_features == 8 and cut.head[2].in_features == 8
    grouped = Grouped()
    cut = cut_channels(grouped, find_groups(grouped, INPUT), {"first": 8, "second": 16})
    assert (cut.blocks.groups, cut.norm.num_groups, cut.norm.num_channels) == (2, 8, 16)


def test_the_first_channels_of_the_order_stay_in_their_sequence():
    network = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 2))
    groups = find_groups(network, (4,))
    best = [15, 3, 9, 0, 4, 7, 8, 2]
    order = {"0": [np.array([*best, *(k for k in range(16) if k not in best)])]}
    cut = cut_channels(network, groups, {"0": 8}, order)
    assert torch.equal(cut[0].weight, network[0].weight[sorted(best)])
    assert torch.equal(cut[1].weight, network[1].weight[:, sorted(best)])


def test_shared_weights_stay_shared():
    network = Tied()
    network.other = network.stem
    cut = cut_channels(network, find_groups(network, INPUT), {"stem": 8})
    assert cut.other.weight is cut.stem.weight and cut.alias is cut.twice
    assert cut.stem.weight.shape == (8, 3, 1, 1)


def test_gradients_stay_off_where_they_are():
    network = Residual()
    network.stem[0].weight.requires_grad_(False)
    cut = cut_channels(network, find_groups(network, INPUT), {"stem.0": 8})
    assert not cut.stem[0].weight.requires_grad and cut.stem[1].weight.requires_grad


def test_unknown_groups_and_widths_are_refused():
    network = Residual()
    groups = find_groups(network, INPUT)
    with pytest.raises(ArchitectureError, match=r"unknown group 'stem'.*'stem\.0'"):
        cut_channels(network, groups, {"stem": 8})
    with pytest.raises(ArchitectureError, match=r"group 'stem\.0' has 8 or 16 channels, not 12"):
        cut_channels(network, groups, {"stem.0": 12})
