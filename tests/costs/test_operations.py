"""Networks with undecided widths fall into operations, whose times add up to those of networks."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpnas import CostTable, SearchSpace, create_space
from ddpnas.costs._latency_plan import make_plan, raw_terms
from ddpnas.costs._operations import find_pieces
from ddpnas.errors import SpaceError

SMALL_EDGE = {
    "stem": (4, 8), "stages": ((4, 8, 12),), "depths": (1, 2), "expansions": (1, 2),
    "head": (16,), "input_shape": (1, 8, 8),
}  # fmt: skip


def time_of(run):
    """Return the time of a device that multiplies and adds, and does nothing else."""
    mapping = {torch.ops.aten.add: lambda *shapes, out_shape, **_: math.prod(out_shape)}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with torch.device("meta"), torch.no_grad(), counter:
        run()
    return counter.get_total_flops()


def on_meta(shape, strides, dtype):
    tensor = torch.empty(shape, dtype=dtype, device="meta")
    return tensor if strides is None else torch.empty_strided(shape, strides, device="meta")


def attention(choose):
    """Return a network of sequences with projections, heads and norms, a width throughout."""
    width = choose.width("width", (8, 16))
    inner = choose.width("inner", (8, 24, 32))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
            self.norm = nn.LayerNorm(width)
            self.wide, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

        def forward(self, x):
            x = x + self.attention(x, x, x, need_weights=False)[0]
            return x + self.narrow(torch.relu(self.wide(self.norm(x))))

    return nn.Sequential(nn.Linear(5, width), Block(), nn.Flatten(), nn.Linear(7 * width, 3))


def joined(choose):
    """Return a network in which two widths are joined, and one part of a tensor is used."""
    a, b = choose.width("a", (4, 8)), choose.width("b", (4, 8, 12))

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, a, 3, padding=1), nn.Conv2d(3, b, 1)
            self.norm, self.last = nn.BatchNorm2d(a + b), nn.Conv2d(a + b, 5, 1)

        def forward(self, x):
            both = self.norm(torch.cat([self.left(x), self.right(x)], 1))
            return self.last(both)[:, :, 1:-1, 1:-1].mean((2, 3))

    return Joined()


SPACES = {
    "edge": functools.partial(create_space, "edge", **SMALL_EDGE),
    "attention": functools.partial(SearchSpace, attention, (7, 5)),
    "joined": functools.partial(SearchSpace, joined, (3, 6, 6)),
}


@pytest.mark.parametrize("name", SPACES)
def test_the_operations_of_a_network_take_the_time_of_the_network(name):
    space = SPACES[name]()
    plan = make_plan(space, 2, 4, seed=0)
    times = {"call": 5.0}
    for key, probe in plan.probes.items():
        if probe.operation is not None:
            times[key] = 5.0 + time_of(probe.operation.run(on_meta, torch.device("meta")))
    table = CostTable("latency_ms", "ms", 0, raw_terms(plan, times))
    rng = np.random.default_rng(0)
    for architecture in (space.sample(rng) for _ in range(5)):
        with torch.device("meta"):
            network = space.build(architecture).eval()
            example = torch.empty(2, *space.input_shape)
        whole = time_of(functools.partial(network, example))
        assert whole > 0 and table.cost(architecture) == pytest.approx(whole)


@pytest.mark.parametrize("name", SPACES)
def test_each_operation_runs_alone_on_real_numbers(name):
    def real(shape, strides, dtype):
        tensor = torch.rand(shape) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
        return tensor if strides is None else torch.rand(5000).as_strided(shape, strides)

    operations = {o for p in find_pieces(SPACES[name](), 1) for o in p.operations.values()}
    assert len({operation.name for operation in operations}) == len(operations)
    with torch.inference_mode():
        for operation in operations:
            results = operation.run(real, torch.device("cpu"))()
            assert len(results) == len(operation.calls)


def test_an_operation_of_many_widths_is_refused_by_name():
    def network(choose):
        widths = [choose.width(f"w{i}", (4, 8)) for i in range(4)]

        class Wide(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = nn.ModuleList(nn.Linear(3, width) for width in widths)
                self.last = nn.Linear(sum(widths), 2)

            def forward(self, x):
                return self.last(torch.cat([part(x) for part in self.parts], 1))

        return Wide()

    with pytest.raises(SpaceError, match=r"depends on 4 widths at once \(w0, w1, w2, w3"):
        find_pieces(SearchSpace(network, (3,)), 1)
