"""What a recipe names, made of timm's parts, does what the recipe says."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import OptionError
from ddpnas.space.layers import InvertedResidual
from ddpnas.training._timm_parts import DropPaths, average_of, mix_of, optimizer_of, schedule_of


def rates(recipe, steps_an_epoch=10):
    optimizer = optimizer_of(nn.Linear(2, 2), recipe)
    schedule = schedule_of(optimizer, recipe, recipe.epochs, steps_an_epoch)
    found = []
    for step in range(recipe.epochs * steps_an_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(step + 1)
    return found


def test_the_cosine_rises_over_the_warmup_and_falls_to_zero():
    found = rates(Recipe(epochs=4, lr=1.0, warmup=0.25, warmup_from=0.1))
    assert found[0] == pytest.approx(0.1) and max(found) == found[10] == pytest.approx(1.0)
    for i in range(30):
        assert found[10 + i] == pytest.approx((1 + math.cos(math.pi * i / 30)) / 2)
    plain = rates(Recipe(epochs=2, lr=0.5, warmup=0))
    assert plain[0] == 0.5 and plain[10] == pytest.approx(0.25)


def test_the_steps_fall_by_their_rate():
    recipe = Recipe(epochs=10, lr=1.0, schedule="step", decay_epochs=2.5, decay_rate=0.5, warmup=0)
    assert rates(recipe) == [pytest.approx(0.5 ** (i // 25)) for i in range(100)]


def test_biases_and_norms_decay_only_if_all_do():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    both = optimizer_of(model, Recipe(weight_decay=0.1))
    assert [g["weight_decay"] for g in both.param_groups] == [0.1]
    some = optimizer_of(model, Recipe(weight_decay=0.1, decay_all=False, optimizer="rmsproptf"))
    decays = {id(p): g["weight_decay"] for g in some.param_groups for p in g["params"]}
    assert decays[id(model[0].weight)] == 0.1
    assert {decays[id(p)] for p in (model[0].bias, model[1].weight, model[1].bias)} == {0.0}
    assert some.param_groups[0]["eps"] == 1e-3


@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw", "rmsproptf", "lamb"])
def test_every_optimizer_lowers_a_loss(name):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    x, y = torch.randn(32, 3), torch.randn(32, 1)
    optimizer = optimizer_of(model, Recipe(optimizer=name, lr=0.01, weight_decay=0))
    losses = []
    for _ in range(20):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_average_starts_with_the_first_weights_and_follows_them():
    model = nn.Linear(1, 1, bias=False)
    average = average_of(model, Recipe(ema=0.9), steps=1000)
    values = [1.0, 2.0, 3.0]
    expected = None
    for i, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        average.update(model, step=i + 1)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert average.module.weight.item() == pytest.approx(expected)
    assert average_of(model, Recipe(ema=0), 10) is None
    assert average_of(model, Recipe(ema=0.9999), 100).decay == pytest.approx(0.9)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_targets_are_probabilities_of_what_was_mixed(kind):
    mix = mix_of(Recipe(**{kind: 1.0}, label_smoothing=0.0), 4, 8)
    inputs = torch.eye(4).repeat(2, 1).view(8, 4, 1, 1).expand(8, 4, 6, 6).contiguous()
    mixed, targets = mix(inputs, torch.arange(8) % 4)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), targets, rtol=0, atol=1e-6)


def test_mixing_needs_pairs():
    assert mix_of(Recipe(), 4, 7) is None
    with pytest.raises(OptionError, match="even batch size, not 7"):
        mix_of(Recipe(mixup=0.2), 4, 7)


def rates_of(network):
    from timm.layers import DropPath

    return [m.drop_prob for m in network.modules() if isinstance(m, DropPath)]


def test_drop_path_rises_over_the_epochs_and_ends_where_the_network_has_it(stripes):
    space = ddpnas.create_space(
        "darts", channels=2, cells=3, drop_path=0.4, num_classes=3, input_shape=(1, 8, 8)
    )
    network = space.build(space.sample(np.random.default_rng(0)))
    seen = []
    ddpnas.train(
        network, stripes, Recipe(epochs=4, batch_size=96, ema=0), device="cpu",
        on_epoch=lambda r: seen.append(rates_of(network)),
    )  # fmt: skip
    assert [set(rates) for rates in seen] == [{0.0}, {0.1}, {0.2}, {0.4 * 0.75}]
    assert set(rates_of(network)) == {0.4}


def block():
    return InvertedResidual(2, 2, kernel=3, expansion=2, searching=False)


def dropped(network, x):
    """Return the part of the images whose last residual branch is dropped."""
    inputs = []
    hook = network[-1].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    outputs = network(x)
    same = outputs.isclose(inputs[0]).flatten(1).all(dim=1)
    hook.remove()
    return float(same.float().mean())


def test_mobile_networks_get_drop_path_while_they_train_only():
    torch.manual_seed(0)
    network, x = nn.Sequential(block(), block()), torch.randn(400, 2, 4, 4)
    with torch.no_grad():
        paths = DropPaths(network, 0.8)  # 0 in the first block, 0.4 in the second
        assert 0.3 < dropped(network, x) < 0.5
        paths.scale(0.5)
        assert 0.1 < dropped(network, x) < 0.3
        assert dropped(network.eval(), x) == 0
        paths.remove()
        assert dropped(network.train(), x) == 0
