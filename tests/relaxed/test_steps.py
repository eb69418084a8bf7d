"""How logits and weights move in a step."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ddpnas import SearchSpace
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.relaxations import RELAXATIONS
from ddpnas.relaxed.steps import MixtureStep
from ddpnas.relaxed.unrolled import second_order


def test_the_second_order_gradient_is_the_exact_double_backward():
    """On a net of about 200 parameters, with momentum and weight decay."""
    torch.manual_seed(0)
    logits = nn.Parameter(torch.randn(2, dtype=torch.float64))
    sizes = ((4, 8, True), (8, 8, True), (8, 8, False), (8, 3, True))
    layers = [nn.Linear(into, out, bias=bias) for into, out, bias in sizes]
    weights = [p for layer in layers for p in layer.double().parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=0.01)
    batches = [(torch.randn(16, 4, dtype=torch.float64), torch.randint(3, (16,))) for _ in "tv"]

    def loss(batch, parameters):
        (w0, b0, w1, b1, w2, w3, b3), shares = parameters, logits.softmax(0)
        hidden = torch.tanh(functional.linear(batch[0], w0, b0))
        one, other = functional.linear(hidden, w1, b1), functional.linear(hidden, w2)
        mixed = shares[0] * torch.tanh(one) + shares[1] * other
        return functional.cross_entropy(functional.linear(mixed, w3, b3), batch[1])

    loss(batches[0], weights).backward()
    optimizer.step()  # momentum is not zero from here on
    before = [p.detach().clone() for p in weights]

    slopes = torch.autograd.grad(loss(batches[0], weights), weights, create_graph=True)
    moved = [
        p - 0.05 * (g + 0.01 * p + 0.9 * optimizer.state[p]["momentum_buffer"])
        for p, g in zip(weights, slopes, strict=True)
    ]
    [exact] = torch.autograd.grad(loss(batches[1], moved), [logits])
    [first_order] = torch.autograd.grad(loss(batches[1], weights), [logits])

    def at(batch):
        def slopes(parameters):
            value = loss(batch, weights)
            return list(torch.autograd.grad(value, parameters, allow_unused=True)), value

        return slopes

    [found], value = second_order(at(batches[0]), at(batches[1]), [logits], weights, optimizer)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(first_order, exact, rtol=1e-2)
    assert all(torch.equal(p, old) for p, old in zip(weights, before, strict=True))
    assert float(value) == pytest.approx(float(loss(batches[1], moved)))


def network(choose, names=("conv", "pool", "same")):
    options = {
        "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
        "pool": lambda: nn.AvgPool2d(3, 1, padding=1),
        "same": nn.Identity,
    }
    chosen = {name: options[name] for name in names}
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), choose("first", chosen), nn.ReLU(), choose("second", chosen),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def trained(relaxation, steps, names=("conv", "pool", "same"), alive=None, **options):
    """Return (mixture, supernet) after some steps in double precision."""
    space = SearchSpace(network, (1, 8, 8), names=names)
    torch.manual_seed(0)
    supernet = space.supernet(seed=5).double().train()
    mixture = Mixture(space.decisions, RELAXATIONS[relaxation], seed=5)
    if alive is not None:
        mixture.keep(alive)
    sgd = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(mixture.parameters(), lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3)
    step = MixtureStep(supernet, mixture, sgd, adam, clip=5.0, **options)
    generator = torch.Generator().manual_seed(1)
    for number in range(steps):
        batches = [
            (torch.randn(6, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(6) % 3)
            for _ in range(2)
        ]
        step(*batches, temperature=2.0, seed=number)
    return mixture, supernet


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_logits_follow_the_names_of_options_and_not_their_order(relaxation):
    found, decoded = [], []
    for names in (("conv", "pool", "same"), ("same", "conv", "pool")):
        mixture, _ = trained(relaxation, 5, names)
        rows = zip(mixture.decisions, mixture.probabilities(), strict=True)
        decoded.append({d.name: d.options[int(row.argmax())] for d, row in rows})
        found.append(
            {
                (d.name, option): float(mixture.logits[d.name][k])
                for d in mixture.decisions
                for k, option in enumerate(d.options)
            }
        )
    assert max(abs(value) for value in found[0].values()) > 0.05, "they have moved"
    for pair, value in found[0].items():
        assert value == pytest.approx(found[1][pair], abs=1e-4)
    assert decoded[0] == decoded[1]


def test_one_loss_moves_logits_and_weights_by_its_gradient():
    space = SearchSpace(network, (1, 8, 8))
    batch = torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 3
    moved = []
    for joint in (True, False):
        torch.manual_seed(0)
        supernet = space.supernet(seed=5).double().train()
        mixture = Mixture(space.decisions, RELAXATIONS["softmax"], seed=5)
        sgds = [torch.optim.SGD(p, lr=0.1) for p in (supernet.parameters(), mixture.parameters())]
        step = MixtureStep(supernet, mixture, *sgds)
        if joint:
            step.train_jointly(batch, temperature=1.0, seed=0)
            moved.append((supernet.network[0].weight, mixture.logits["first"]))
        else:  # logits move by the same gradient where both batches are one
            step(batch, batch, temperature=1.0, seed=0)
            moved.append((supernet.network[0].weight, mixture.logits["first"]))
    torch.testing.assert_close(moved[0][1], moved[1][1])
    assert not torch.equal(moved[0][0], moved[1][0]), "weights saw the logits before the step"
    start = Mixture(space.decisions, RELAXATIONS["softmax"], seed=5)
    assert not torch.allclose(moved[0][1], start.logits["first"], atol=1e-5)


def test_the_second_order_moves_the_logits_elsewhere():
    first, second = (trained("softmax", 2, order=order)[0].logits["first"] for order in (1, 2))
    assert not torch.allclose(first, second, atol=1e-6)
    assert second.isfinite().all()


def test_pruned_options_stay_where_they_are():
    alive = [np.array([True, False, True]), np.array([True, True, True])]
    start, before = trained("softmax", 0)
    mixture, supernet = trained("softmax", 3, alive=alive)
    assert mixture.logits["first"][1] == start.logits["first"][1]
    assert mixture.logits["first"][0] != start.logits["first"][0]
    mixture, supernet = trained("softmax", 3, alive=[np.array([False, True, True])] * 2)
    for place in (2, 4):
        held, first = supernet.network[place].options[0], before.network[place].options[0]
        assert torch.equal(held.weight, first.weight), "the weights of a pruned option moved"
