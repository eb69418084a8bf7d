"""Kernels of all sizes come from one weight, and a built network gets the one it has."""

import torch
from torch import nn
from torch.nn import functional

from ddpnas import SearchSpace, count_costs, count_network
from ddpnas.space.elastic_kernel import ElasticKernelConv2d


def network(choose, input_shape=(4, 9, 9)):
    width, kernel = choose.width("width", (3, 6)), choose.width("kernel", (3, 5, 7))
    first = nn.Conv2d(4, width, 1)
    if choose.searching:
        second = ElasticKernelConv2d(width, kernel, (3, 5, 7), stride=2)
    else:
        second = nn.Conv2d(width, width, kernel, 2, kernel // 2, groups=width, bias=False)
    return nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


def test_smaller_kernels_are_transformed_centers_of_larger_ones():
    conv = ElasticKernelConv2d(3, 3, (3, 5, 7))
    with torch.no_grad():
        conv.transform5.copy_(torch.randn(25, 25))
        conv.transform3.copy_(torch.randn(9, 9))
    five = torch.einsum("ij,cj->ci", conv.transform5, conv.weight[:, 0, 1:6, 1:6].flatten(1))
    five = five.view(3, 1, 5, 5)
    three = torch.einsum("ij,cj->ci", conv.transform3, five[:, 0, 1:4, 1:4].flatten(1))
    torch.testing.assert_close(conv.kernels(5), five)
    torch.testing.assert_close(conv.kernels(3), three.view(3, 1, 3, 3))
    x = torch.randn(2, 3, 8, 8)
    for size in (3, 5, 7):
        conv.kernel = size
        expected = functional.conv2d(x, conv.kernels(size), padding=size // 2, groups=3)
        torch.testing.assert_close(conv(x), expected)
    conv.kernel = 3
    conv(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in conv.parameters())


def test_a_built_network_has_a_plain_convolution_with_the_same_output():
    space = SearchSpace(network)
    supernet, costs = space.supernet(seed=0), count_costs(space)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(3, 4, 9, 9)
    for width in ("3", "6"):
        for kernel in ("3", "5", "7"):
            chosen = {"width": width, "kernel": kernel}
            built = space.build(chosen, weights_from=supernet)
            assert type(built[1]) is nn.Conv2d and built[1].kernel_size == (int(kernel),) * 2
            supernet.set_path(chosen)
            assert torch.equal(supernet(x), built(x))
            counted = count_network(built, (4, 9, 9))
            assert {n: counted[n] for n in costs} == {n: t.cost(chosen) for n, t in costs.items()}
