"""A choice that runs several options: what runs, what comes out, and what gradients see."""

import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, create_space
from ddpnas.errors import SpaceError
from ddpnas.relaxed.mixed import Draw, MixedChoices
from ddpnas.space.layers import NoConnection, add


def count_runs(choice):
    """Return a list that grows by the index of each option of the choice that runs."""
    ran = []
    for k, option in enumerate(choice.options):
        option.register_forward_hook(lambda *_, k=k: ran.append(k))
    return ran


def one_hot(size, chosen):
    return torch.eye(size)[chosen]


@pytest.mark.parametrize("name", ["nasbench201", pytest.param("darts", marks=pytest.mark.slow)])
def test_a_one_hot_mixture_equals_the_path_bit_for_bit(name):
    small = (
        {"channels": 2, "cells": 3} if name == "darts" else {"channels": 2, "cells_per_stage": 1}
    )
    space = create_space(name, **small, num_classes=3, input_shape=(1, 16, 16))
    supernet = space.supernet(seed=0).train()
    mixed = MixedChoices(supernet)
    images, rng = torch.randn(3, 1, 16, 16), torch.Generator().manual_seed(0)
    for _ in range(3):
        chosen = {
            d.name: int(torch.randint(len(d.options), (), generator=rng)) for d in space.decisions
        }
        supernet.set_path({d.name: d.options[chosen[d.name]] for d in space.decisions})
        outputs, slopes = [], []
        draws = {
            d.name: Draw(one_hot(len(d.options), chosen[d.name]), tuple(range(len(d.options))))
            for d in space.decisions
        }
        for mix in (False, True):
            supernet.zero_grad(set_to_none=True)
            if mix:
                with mixed(draws):
                    outputs.append(supernet(images))
            else:
                outputs.append(supernet(images))
            outputs[-1].square().sum().backward()
            slopes.append(
                [p.grad.clone() for p in supernet.path_parameters() if p.grad is not None]
            )
        assert torch.equal(*outputs)
        for one, other in zip(*slopes, strict=True):  # summed up in another order
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class Sum(nn.Module):
    """The input plus what a choice makes of it."""

    def __init__(self, choose):
        super().__init__()
        self.choice = choose(
            "op",
            {
                "conv": lambda: nn.Conv2d(2, 2, 1),
                "none": NoConnection,
                "wide": lambda: nn.Conv2d(2, 2, 3, padding=1),
                "same": nn.Identity,
            },
        )

    def forward(self, x):
        return add([x, self.choice(x)], like=x)


@pytest.fixture
def one_choice():
    return SearchSpace(Sum, (2, 4, 4)).supernet(seed=0)


def test_a_soft_mixture_is_the_weighted_sum_of_its_options(one_choice):
    x, weights = torch.randn(3, 2, 4, 4), torch.tensor([0.1, 0.2, 0.3, 0.4])
    [choice] = one_choice.choices
    expected = x + 0.1 * choice.options[0](x) + 0.3 * choice.options[2](x) + 0.4 * x
    with MixedChoices(one_choice)({"op": Draw(weights, (0, 1, 2, 3))}):
        torch.testing.assert_close(one_choice(x), expected)
    one_choice.set_path({"op": "same"})
    assert torch.equal(one_choice(x), x + x), "outside the context a path runs"


def test_options_that_are_left_out_neither_run_nor_get_gradients(one_choice):
    [choice] = one_choice.choices
    ran = count_runs(choice)
    weights = torch.tensor([0.5, 0.0, 0.0, 0.5])
    with MixedChoices(one_choice)({"op": Draw(weights, (0, 3))}):
        one_choice(torch.randn(2, 2, 4, 4)).sum().backward()
    assert ran == [0, 3]
    assert choice.options[0].weight.grad is not None
    assert choice.options[2].weight.grad is None


def test_options_that_are_one_module_run_once(one_choice):
    [choice] = one_choice.choices
    choice.options[2] = choice.options[0]
    ran, x = count_runs(choice), torch.randn(2, 2, 4, 4)
    weights = torch.tensor([0.25, 0.0, 0.5, 0.25])
    with MixedChoices(one_choice)({"op": Draw(weights, (0, 1, 2, 3))}):
        found = one_choice(x)
    assert sorted(set(ran)) == [0, 1, 2, 3] and len(ran) == 4  # two hooks, on one run
    torch.testing.assert_close(found, x + 0.75 * choice.options[0](x) + 0.25 * x)


def test_the_hard_form_runs_one_option_and_reaches_all_weights(one_choice):
    [choice] = one_choice.choices
    x, mixed = torch.randn(2, 2, 4, 4), MixedChoices(one_choice)
    for chosen in range(4):
        others = tuple(k for k in range(4) if k != chosen)
        weights = one_hot(4, chosen).clone().requires_grad_()
        with mixed({"op": Draw(weights, (chosen,), others)}):
            one_choice(x)  # the shape of an output that is none is found here once
            ran = count_runs(choice)
            output = one_choice(x)
        assert ran == [chosen]
        output.sum().backward()
        value = 0.0 if chosen == 1 else choice.options[chosen](x).sum().item()
        expected = torch.full((4,), float(output.numel()))
        expected[chosen] = value
        torch.testing.assert_close(weights.grad[others,], expected[others,])
        if chosen != 1:
            torch.testing.assert_close(weights.grad[chosen], expected[chosen])
        assert output.sum().item() == pytest.approx(x.sum().item() + value, abs=1e-4)


def test_what_a_mixture_cannot_run_is_refused_by_name():
    def network(choose, option=nn.Identity):
        return nn.Sequential(nn.Conv2d(1, 1, 1), choose("op", {"odd": option, "same": nn.Identity}))

    draws = {"op": Draw(torch.tensor([0.5, 0.5]), (0, 1))}
    for option, says in (
        (lambda: nn.ReLU(inplace=True), "'odd' of decision 'op' changes its input in place"),
        (lambda: nn.LSTM(4, 4), "'odd' of decision 'op' returns tuple"),
    ):
        space = SearchSpace(network, (1, 4, 4))
        supernet = space.supernet()
        supernet.choices[0].options[0] = option()
        images = torch.randn(2, 1, 4, 4) if "place" in says else torch.randn(1, 4, 4)
        with pytest.raises(SpaceError, match=says), MixedChoices(supernet)(draws):
            supernet(images)
