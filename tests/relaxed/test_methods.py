"""What the published methods promise, seen in whole steps and whole searches."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas import SearchSpace
from ddpnas.relaxed import RELAXATIONS, MixedChoices, Mixture, MixtureStep
from ddpnas.strategies import GradientStrategy, list_strategies, strategy_class

METHODS = [n for n in list_strategies() if issubclass(strategy_class(n), GradientStrategy)]


def network(choose):
    """Return a network that tells stripes apart where a choice looks at neighboring pixels."""

    def conv():
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    options = {"conv": conv, "pool": lambda: nn.AvgPool2d(3, 1, 1), "same": nn.Identity}
    return nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.ReLU(), choose("first", options), choose("second", options),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("relaxation", "for_logits", "for_weights"),
    [("softmax", 3, 3), ("dirichlet", 3, 3), ("gumbel-hard", 1, 1), ("two-path", 2, 1)],
)
def test_a_step_runs_as_many_options_as_the_method_says(relaxation, for_logits, for_weights):
    space = SearchSpace(network, (1, 8, 8))
    supernet, mixture = space.supernet(seed=0), Mixture(space.decisions, RELAXATIONS[relaxation])
    sgd = torch.optim.SGD(supernet.parameters(), lr=0.1)
    step = MixtureStep(supernet, mixture, sgd, torch.optim.Adam(mixture.parameters()))
    ran = []
    for choice in supernet.choices:
        for option in choice.options:
            option.register_forward_hook(lambda *_, name=choice.decision: ran.append(name))
    batch = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    for seed in range(5):
        step(batch, batch, temperature=1.0, seed=seed)
        assert ran.count("first") == ran.count("second") == for_logits + for_weights
        ran.clear()


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_of_gdas_is_that_of_all_options_with_the_same_draw(seed):
    space = SearchSpace(network, (1, 8, 8))
    supernet, mixture = space.supernet(seed=0), Mixture(space.decisions, RELAXATIONS["gumbel-hard"])
    x = torch.randn(6, 1, 8, 8)
    found = mixture.draw(2.0, seed)
    with MixedChoices(supernet)(found):
        (supernet(x) ** 2).sum().backward()

    logits = {d.name: mixture.logits[d.name].detach().requires_grad_() for d in space.decisions}
    hidden = supernet.network[1](supernet.network[0](x))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for place, name in ((2, "first"), (3, "second")):
            gumbel = -torch.empty(3).exponential_().log()
            soft = ((logits[name].log_softmax(0) + gumbel) / 2.0).softmax(0)
            chosen = int(soft.argmax())
            hard = functional.one_hot(soft.argmax(), 3) - soft.detach() + soft
            option = supernet.network[place].options[chosen]
            hidden = hard[chosen] * option(hidden) + hard.sum() - hard[chosen]
            assert found[name].runs == (chosen,)
    (supernet.network[4:](hidden) ** 2).sum().backward()
    for name, explicit in logits.items():
        torch.testing.assert_close(mixture.logits[name].grad, explicit.grad)


@pytest.mark.parametrize(
    "name",
    [n if n == "darts" else pytest.param(n, marks=pytest.mark.slow) for n in METHODS],
)
def test_a_planted_skip_that_is_worst_is_not_chosen_unless_the_sign_is_flipped(
    name, stripes, monkeypatch
):
    space = SearchSpace(planted, (1, 8, 8), name="planted")
    epochs = 30 if name in ("pdarts", "proxyless", "snas", "gdas") else 12
    options = {"epochs": epochs, "batch_size": 16, "lr": 0.1, "lr_min": 0.01, "alpha_lr": 0.1}
    if name == "pcdarts":
        options["parts"] = 2

    def found():
        result = ddpnas.search(space, stripes, name, strategy_options=options, device="cpu")
        return result.architecture, np.mean([row[1] for row in result.distribution.theta.values()])

    architecture, skip = found()
    assert "skip_connect" not in architecture.values() and skip < 0.45
    step = torch.optim.Adam.step

    def uphill(self, *args):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.neg_()
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", uphill)
    assert found()[1] > 0.55, "worse than random"


def planted(choose, channels=8):
    """Return a network whose choice is between a look at neighboring pixels and none."""

    def conv():
        layer = nn.Conv2d(channels, channels, 3, padding=1)
        return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

    options = {"conv": conv, "skip_connect": nn.Identity}
    return nn.Sequential(
        nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels), choose("only", options),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3),
    )  # fmt: skip
