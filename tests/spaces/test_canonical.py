"""Equivalent architectures have one canonical form."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas import SearchSpace
from ddpnas.spaces.nasbench201 import EDGES

from ..conftest import published_space

NASBENCH201 = published_space("nasbench201")


def cell(text):
    return NASBENCH201.parse(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Node 1 does not reach the output; nothing reaches node 2; skips relabel the nodes.
        (
            "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
            "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
        ),
        (
            "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
            "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
        ),
        (
            "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|avg_pool_3x3~1|none~2|",
            "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|avg_pool_3x3~2|",
        ),
    ],
)
def test_equal_cells_of_nasbench201_are_recognised(one, other):
    assert cell(one) != cell(other)
    assert NASBENCH201.canonical(cell(one)) == NASBENCH201.canonical(cell(other))


def test_equal_cells_of_nasbench201_compute_the_same():
    """Evaluated with one set of weights an operation, where they stand in one place each."""
    rng = np.random.default_rng(0)
    space = NASBENCH201.with_options(channels=2, cells_per_stage=1, input_shape=(3, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    for _ in range(10):
        choices = {
            d.name: str(rng.choice(["none", "skip_connect", "avg_pool_3x3"]))
            for d in space.decisions
        }
        torch.manual_seed(0)
        original = space.build(choices)
        torch.manual_seed(0)
        canonical = space.build(space.canonical(choices))
        with torch.no_grad():
            torch.testing.assert_close(original(images), canonical(images))


def live_convolutions(architecture):
    """Return the convolutions that lie between input and output."""
    edges = {(i, j): architecture[f"{i}<-{j}"] for i, j in EDGES}
    edges = {edge: operation for edge, operation in edges.items() if operation != "none"}
    fed, leading = {0}, {3}
    for i, j in sorted(edges):
        fed |= {i} if j in fed else set()
    for i, j in sorted(edges, reverse=True):
        leading |= {j} if i in leading else set()
    live = [operation for (i, j), operation in edges.items() if j in fed and i in leading]
    return sorted(operation for operation in live if "conv" in operation)


def test_nasbench201_has_5260_different_cells_and_equal_ones_have_the_same_convolutions():
    forms = {}
    for indices in itertools.product(range(5), repeat=6):
        architecture = NASBENCH201.decode(indices)
        form = NASBENCH201.canonical(architecture)
        assert live_convolutions(architecture) == forms.setdefault(form, live_convolutions(form))
    assert len(forms) == 5260
    assert all(NASBENCH201.canonical(form) == form for form in list(forms)[:100])


def test_one_convolution_that_arrives_twice_is_not_two_convolutions():
    once = cell("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|")
    twice = cell("|none~0|+|skip_connect~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|")
    assert NASBENCH201.canonical(once) != NASBENCH201.canonical(twice)


def test_decisions_that_are_not_asked_do_not_count():
    def network(choose):
        def inner():
            return choose("inner", {"a": lambda: nn.Linear(4, 4), "b": lambda: nn.Linear(4, 4)})

        return choose("outer", {"plain": nn.Identity, "nested": inner})

    space = SearchSpace(network, (4,))
    forms = [
        space.canonical({"outer": outer, "inner": inner})
        for outer in ("plain", "nested")
        for inner in ("a", "b")
    ]
    assert forms[0] == forms[1] and len(set(forms)) == 3
