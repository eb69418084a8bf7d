"""Masks: their gradient, their price, and channels that only look important."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas.errors import DivergedError, OptionError, RunError
from ddpnas.shrinking import (
    WidthScores,
    _phases,
    order_channels,
    resume_shrink,
    search_masks,
    shrink,
    shrinkable,
)
from ddpnas.shrinking.pas import _Search
from ddpnas.space import Architecture
from ddpnas.training.checkpoint import load_checkpoint, save_checkpoint

from .networks import conv

CPU = torch.device("cpu")


def network(width=16, classes=3):
    layers = [conv(1, width, 3), nn.ReLU(), conv(width, width, 3), nn.ReLU()]
    layers += [conv(width, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


@pytest.fixture(scope="module")
def signal(stripes):
    """Return a trained network of 8 channels a layer."""
    torch.manual_seed(0)
    return ddpnas.train(network(8), stripes, epochs=12, device="cpu").model


def with_noise(signal):
    """Return the network with 8 more channels a layer, and their places (8 to 15, then mixed).

    They have random filters, ten times as large as those of the signal, in pairs of equal ones. The
    weights that use a pair cancel each other, and have the L1 norm of those that use a signal.
    """
    torch.manual_seed(1)
    wide = network(16)
    makers = [wide[0], wide[2], wide[4]]
    users = [wide[2], wide[4], wide[8]]
    places = [torch.randperm(16) for _ in makers]
    old = [signal[0], signal[2], signal[4]]
    with torch.no_grad():
        for number, maker in enumerate(makers):
            rows, source = places[number], old[number]
            into = places[number - 1][:8] if number else torch.arange(1)
            maker.weight.zero_(), maker.bias.zero_()
            maker.weight[rows[:8][:, None], into] = source.weight
            maker.bias[rows[:8]] = source.bias
            filters = torch.randn(4, *source.weight.shape[1:]) * source.weight.std() * 10
            for copies in (rows[8::2], rows[9::2]):
                maker.weight[copies[:, None], into] = filters
        for number, user in enumerate(users):
            source = [signal[2], signal[4], signal[8]][number]
            out = places[number + 1] if number + 1 < len(places) else torch.arange(3)
            kept = out[:8] if number + 1 < len(places) else out
            columns = places[number]
            if number + 1 == len(users):
                user.weight.zero_(), user.bias.copy_(source.bias)
                user.weight[kept[:, None], columns[:8]] = source.weight
            for like, one, other in zip(columns[:8:2], columns[8::2], columns[9::2]):
                weights = torch.randn(len(kept), *source.weight.shape[2:])
                weights *= user.weight[:, like].abs().sum() / weights.abs().sum()
                user.weight[kept, one], user.weight[kept, other] = weights, -weights
    return wide, [set(p[8:].tolist()) for p in places]


def removed_noise(order, noise):
    """Return the share of noise among the worse half of the channels."""
    removed = [set(ranks[0][8:].tolist()) & n for ranks, n in zip(order.values(), noise)]
    return sum(map(len, removed)) / 24


@pytest.mark.slow
def test_channels_whose_weights_cancel_go_first_whatever_judges_widths(signal, stripes):
    wide, noise = with_noise(signal)
    inputs = torch.randn(20, 1, 8, 8)
    torch.testing.assert_close(wide(inputs), signal(inputs), rtol=0, atol=1e-4)
    space = shrinkable(wide, (1, 8, 8), fractions=(0.5, 1.0))
    for importance in ("producers", "consumers"):
        assert removed_noise(order_channels(wide, space.groups[:3], importance), noise) < 0.6
    for method in ("sensitivity", "pas"):
        options = {"epochs": 1, "candidates": 1, "controls": (), "device": "cpu"}
        found = shrink(
            wide, stripes, {"macs": "27%"}, method=method, fractions=(0.5, 1.0), **options
        )
        assert set(found.architecture.values()) == {"8"}
        assert removed_noise(found.order, noise) >= 0.9, method


@pytest.fixture
def searching(stripes):
    torch.manual_seed(0)
    space = shrinkable(network(), (1, 8, 8), fractions=(0.25, 0.5, 1.0), divisor=4)
    costs = ddpnas.count_costs(space)
    full = costs["macs"].cost({d.name: d.options[-1] for d in space.decisions})

    def make(share=0.5, strength=40.0, epochs=1):
        targets = {"macs": share * full}
        return _Search(space, stripes, costs, targets, epochs, strength, 0.02, 0, CPU)

    return make


def test_the_masked_network_is_the_cut_one(searching):
    search = searching()
    gone = torch.tensor([1, 5, 6])
    search._masks["0/0"].data[gone] = 0.2
    used = search._used()
    assert used["0/0"].tolist() == [float(i not in gone) for i in range(16)]
    inputs = torch.randn(4, 1, 8, 8)
    outputs = torch.func.functional_call(search._model, search._weights(used), (inputs,))
    cut = copy.deepcopy(search._model)
    cut[2].weight.data[:, gone] = 0
    torch.testing.assert_close(outputs, cut(inputs))


def test_the_gradient_of_a_mask_is_that_of_its_channel_removed_or_not(searching):
    search = searching()
    search._masks["0/0"].data[3] = 0.2
    inputs, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    used = search._used()
    outputs = torch.func.functional_call(search._model, search._weights(used), (inputs,))
    functional.cross_entropy(outputs, labels).backward()
    scale = torch.ones(16)
    scale[3] = 0
    scale.requires_grad_()
    first, *rest = search._model[1:]
    hidden = first(search._model[0](inputs)) * scale[:, None, None]
    for layer in rest:
        hidden = layer(hidden)
    functional.cross_entropy(hidden, labels).backward()
    torch.testing.assert_close(search._masks["0/0"].grad, scale.grad)
    assert search._masks["0/0"].grad[3] != 0


def test_the_price_is_that_of_the_widths(searching):
    search = searching(share=0.3, strength=7.0)
    used = search._used()
    assert search._relative(used)["macs"].item() == pytest.approx(1)
    assert search._price(used).item() == pytest.approx(7 * 0.7**2)
    search._masks["2/0"].data[:8] = 0
    half = search._used()
    space = shrinkable(search._model, (1, 8, 8), fractions=(0.5, 1.0))
    costs = ddpnas.count_costs(space)["macs"]
    whole = {d.name: "16" for d in space.decisions}
    share = costs.cost({**whole, "2": "8"}) / costs.cost(whole)
    assert search._relative(half)["macs"].item() == pytest.approx(share)
    search._masks["2/0"].data.zero_()
    assert int(search._used()["2/0"].sum()) == 4  # the smallest width stays


def test_without_a_price_no_channel_goes_and_with_one_channels_come_back(searching):
    free = searching(strength=0.0)
    free.run(None, lambda record: None)
    assert free.result().reached["macs"] == pytest.approx(1)
    priced = searching(share=0.4, epochs=8)
    records = []
    priced.run(None, records.append)
    found = priced.result()
    assert found.reached["macs"] < 0.9 and found.revived > 0 and len(records) == 8
    for group, _ in found.prices:
        prices = [found.prices[group, width] for width in ("16", "8", "4")]
        assert prices == sorted(prices) and prices[0] == 0


def test_the_widths_are_the_nearest_to_what_the_masks_leave(searching):
    search = searching()
    search._masks["0/0"].data[:9] = 0  # 7 of 16 channels are left
    search._masks["2/0"].data[:3] = 0
    search._masks["4/0"].data.zero_()
    assert dict(search.result().widths) == {"0": "8", "2": "16", "4": "4"}


@pytest.mark.parametrize("left", ["4", "8", "16"])
def test_it_can_end_with_the_widths_that_masks_leave_and_limits_hold(stripes, monkeypatch, left):
    masked = {"0": "16", "2": left, "4": "8"}

    def searched(*given, **options):
        return dataclasses.replace(search_masks(*given, **options), widths=Architecture(masked))

    monkeypatch.setattr(_phases, "search_masks", searched)
    told = []
    options = {"epochs": 1, "controls": (), "device": "cpu", "on_progress": told.append}
    options |= {"fractions": (0.25, 0.5, 1.0), "divisor": 4, "method": "pas", "ending": "masks"}
    found = shrink(network(), stripes, {"macs": "40%"}, **options)
    says = [line for line in told if "the widths that the masks leave are not within" in line]
    assert len(found.candidates) == 1
    assert found.costs["macs"] <= 0.4 * found.given_costs["macs"]
    if left == "16":
        assert len(says) == 1
        assert all(int(width) <= int(masked[group]) for group, width in found.architecture.items())
    else:
        assert not says and found.architecture == Architecture(masked)


def test_widths_that_masks_leave_may_not_use_the_margin_of_a_measured_cost(stripes, monkeypatch):
    masked, model = {"0": "8", "2": "8", "4": "8"}, network()
    space = shrinkable(model, (1, 8, 8), fractions=(0.25, 0.5, 1.0), divisor=4)
    terms = {((d.name, option),): float(option) for d in space.decisions for option in d.options}
    about = {"check": {"p95_percent": 5.0}}
    table = ddpnas.CostTable("latency_ms", "ms", 0.0, terms, about)

    def searched(*given, **options):
        return dataclasses.replace(search_masks(*given, **options), widths=Architecture(masked))

    monkeypatch.setattr(_phases, "search_masks", searched)
    told = []
    options = {"epochs": 1, "controls": (), "device": "cpu", "on_progress": told.append}
    options |= {"fractions": (0.25, 0.5, 1.0), "divisor": 4, "method": "pas", "ending": "masks"}
    found = shrink(model, stripes, {"latency_ms": 24}, **options, costs=[table])
    assert found.costs["latency_ms"] <= 0.95 * 24
    assert any("the widths that the masks leave are not within" in line for line in told)


def test_only_masks_end_with_what_masks_leave(stripes):
    with pytest.raises(OptionError, match='"masks" needs the method "pas"'):
        shrink(network(), stripes, {"macs": "50%"}, ending="masks", device="cpu")


def test_it_goes_on_from_its_checkpoint(searching, tmp_path):
    whole = searching(epochs=2)
    whole.run(None, lambda record: None)
    first = searching(epochs=2)

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "masks.safetensors", stop)
    second = searching(epochs=2)
    second.run(tmp_path / "masks.safetensors", lambda record: None)
    assert second.result().prices == whole.result().prices
    orders = whole.result().order, second.result().order
    assert all(np.array_equal(a, b) for n in orders[0] for a, b in zip(orders[0][n], orders[1][n]))


def test_the_device_needs_no_double_precision(searching, no_double_precision, tmp_path):
    searching().run(tmp_path / "masks.safetensors", lambda record: None)


def test_a_checkpoint_of_other_masks_is_refused(searching, tmp_path):
    path = tmp_path / "masks.safetensors"
    searching(epochs=1).run(path, lambda record: None)
    tensors, plain = load_checkpoint(path)
    name = next(name for name in tensors if name.startswith("mask."))
    save_checkpoint(path, {**tensors, name: tensors[name][:1].clone()}, plain)
    with pytest.raises(RunError, match="masks.safetensors: what it holds does not fit"):
        searching(epochs=2).run(path, lambda record: None)
    save_checkpoint(path, tensors, {**plain, "epoch": "one"})
    with pytest.raises(RunError, match="epoch must be a whole number"):
        searching(epochs=2).run(path, lambda record: None)


def test_a_training_with_masks_that_diverges_ends(stripes):
    given = network()
    for parameter in given.parameters():
        parameter.data.mul_(1e12)
    space = shrinkable(given, (1, 8, 8))
    with pytest.raises(DivergedError, match="became nan in epoch 1 of the training with masks"):
        search_masks(space, stripes, {"macs": 90_000}, ddpnas.count_costs(space))


class Own(nn.Module):
    """A linear layer over channels that is not torch's own module."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 16))

    def forward(self, x):
        return torch.einsum("oi,nihw->no", self.weight, x)


def test_channels_that_no_mask_can_reach_are_refused_before_anything_is_trained(stripes, tmp_path):
    model, folder = nn.Sequential(conv(1, 16, 3), nn.ReLU(), Own()), tmp_path / "small"
    with pytest.raises(OptionError, match="no such layer.*take the method sensitivity"):
        shrink(model, stripes, {"macs": "60%"}, method="pas", device="cpu", out=folder)
    assert not folder.exists()
    space = shrinkable(model, (1, 8, 8))
    with pytest.raises(OptionError, match="take the method sensitivity"):
        search_masks(space, stripes, {"macs": 3000}, ddpnas.count_costs(space))


def test_a_limit_from_above_is_needed(stripes):
    space = shrinkable(network(), (1, 8, 8))
    with pytest.raises(OptionError, match="masks need a limit from above"):
        search_masks(space, stripes, {"macs": ">=10"}, ddpnas.count_costs(space))


@pytest.mark.parametrize("ending", ["exact", "masks"])
def test_a_shrink_by_masks_goes_on_after_them(stripes, tmp_path, ending):
    torch.manual_seed(0)
    given, folder = network(), tmp_path / "small"

    def stop(line):
        if line.startswith("candidates"):
            raise KeyboardInterrupt

    options = {"epochs": 1, "candidates": 2, "controls": (), "device": "cpu", "method": "pas"}
    options["ending"] = ending
    with pytest.raises(KeyboardInterrupt):
        shrink(given, stripes, {"macs": "50%"}, **options, out=folder, on_progress=stop)
    lines = (folder / "scores.jsonl").read_bytes()
    assert not (folder / "masks.safetensors").exists()  # it is not needed any more
    found = resume_shrink(folder, model=given, data=stripes)
    assert (folder / "scores.jsonl").read_bytes().startswith(lines)
    unbroken = shrink(given, stripes, {"macs": "50%"}, **options)
    assert found.architecture == unbroken.architecture
    torch.testing.assert_close(
        found.model.state_dict(), unbroken.model.state_dict(), rtol=0, atol=0
    )
    whole = ddpnas.count_network(given, (1, 8, 8))["macs"]
    assert found.costs["macs"] <= whole / 2
    assert WidthScores.read(folder).generate({"macs": "40%"})[0].costs["macs"] <= 0.4 * whole
