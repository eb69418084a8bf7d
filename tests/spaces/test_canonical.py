"""Equivalent architectures have one canonical form."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, create_space

NASBENCH201 = create_space("nasbench201")


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


def test_nasbench201_has_4930_different_cells():
    every = (NASBENCH201.decode(i) for i in itertools.product(range(5), repeat=6))
    forms = {NASBENCH201.canonical(architecture) for architecture in every}
    assert len(forms) == 4930
    assert all(NASBENCH201.canonical(form) == form for form in list(forms)[:100])


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
