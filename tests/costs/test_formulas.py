"""Operations that torch's own formulas leave out count what they multiply."""

import logging

import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, count_costs, count_network


class Runs(nn.Module):
    """A module that does what a function does, by a weight of 3 rows of 8."""

    def __init__(self, function, *layers):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8))
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def deformed(self, x):
    [offsets, conv] = self.layers
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offsets(x), conv.weight, padding=1)


PRODUCTS = {
    "mv": (lambda self, x: self.weight @ x[0], (8,), 24),
    "addmv": (lambda self, x: torch.addmv(self.weight[:, 0], self.weight, x[0]), (8,), 24),
    "dot": (lambda self, x: torch.dot(self.weight[0], x[0]), (8,), 8),
    "vdot": (lambda self, x: torch.vdot(self.weight[0], x[0]), (8,), 8),
    "addbmm": (lambda self, x: torch.addbmm(x[0], x, x), (5, 5), 125),
    "attention pooling": (
        lambda self, x: (x.softmax(1) @ self.weight[0])[..., None] * self.layers[0](x),
        (5, 8),
        5 * 8 + 5 * 8 * 7,
        nn.Linear(8, 7),
    ),
    "bilinear": (lambda self, x: self.layers[0](x, x), (8,), 192, nn.Bilinear(8, 8, 3)),
    "deformable convolution": (
        deformed,
        (3, 8, 8),
        64 * (3 * 18 * 9) + 64 * (3 * 6 * 9),
        nn.Conv2d(3, 18, 3, padding=1),
        nn.Conv2d(3, 6, 3, padding=1),
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_vectors_and_of_three_tensors_are_counted(name):
    function, shape, macs, *layers = PRODUCTS[name]
    assert count_network(Runs(function, *layers), shape)["macs"] == macs


def test_the_costs_of_a_space_have_them_too():
    def network(choose):
        mix = choose("mix", {"bilinear": lambda: nn.Bilinear(8, 8, 8), "skip": lambda: Product()})
        return Runs(lambda self, x: self.layers[0](x, x), mix)

    macs = count_costs(SearchSpace(network, (8,)))["macs"]
    assert (macs.cost({"mix": "bilinear"}), macs.cost({"mix": "skip"})) == (8**3, 0)


class Product(nn.Module):
    def forward(self, x, y):
        return x * y


def test_an_operation_of_another_package_without_a_formula_is_named_once(caplog):
    import torchvision

    def pooled(self, x):
        boxes = torch.zeros(1, 5, device=x.device)
        return torchvision.ops.roi_align(x, boxes, 2)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert count_network(Runs(pooled), (3, 8, 8))["macs"] == 0
    named = [r.getMessage() for r in caplog.records if "torchvision::roi_align" in r.getMessage()]
    assert len(named) == 1 and "register_flop_formula" in named[0]
