"""Times of units become the times of networks: exactly, where times add up by definition."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpnas import CostTable, create_space
from ddpnas.costs._latency_plan import make_plan, raw_terms
from ddpnas.costs._units import bind


def time_of(run):
    """Return the time of a device that multiplies and adds, and does nothing else."""
    mapping = {torch.ops.aten.add: lambda *shapes, out_shape, **_: math.prod(out_shape)}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with torch.device("meta"), torch.no_grad(), counter:
        run()
    return counter.get_total_flops()


def table_of(space, overhead=5):
    """Return the table that a device of exact times gives."""
    plan = make_plan(space, 1, 4, seed=0)
    with torch.device("meta"):
        opened = space.opened()
    times = {"call": overhead}
    for name, probe in plan.probes.items():
        if probe.unit is not None:
            run = bind(opened, probe.unit, probe.unit.inputs, probe.outputs())
            times[name] = time_of(run) + overhead
    return CostTable("latency_ms", "ms", 0, raw_terms(plan, times))


def check_sums(space, architectures):
    table = table_of(space)
    for architecture in architectures:
        with torch.device("meta"):
            network = space.build(architecture).eval()
            example = torch.empty(1, *space.input_shape)
        assert table.cost(architecture) == pytest.approx(
            time_of(functools.partial(network, example))
        )


def test_additions_are_paid_by_the_edges_that_give_something():
    space = create_space("nasbench201", channels=2, cells_per_stage=2)
    rng = np.random.default_rng(0)
    # A node without any input writes nothing, instead of less than that.
    connected = [
        architecture
        for architecture in (space.sample(rng) for _ in range(12))
        if all(
            any(architecture[d.name] != "none" for d in space.decisions if d.name[0] == node)
            for node in "123"
        )
    ]
    assert len(connected) > 3
    check_sums(space, connected)


def test_rules_leave_every_node_its_additions():
    space = create_space("darts", channels=4, cells=3, input_shape=(3, 8, 8))
    rng = np.random.default_rng(0)
    check_sums(space, [space.sample(rng) for _ in range(4)])


@pytest.mark.parametrize("seed", range(5))
def test_disturbed_timings_give_nothing_a_time_below_zero(seed):
    """Where an empty call was timed longer than a unit, or less of it longer than all of it."""
    space = create_space("nasbench201", channels=2, cells_per_stage=1)
    plan = make_plan(space, 1, 4, seed=0)
    rng = np.random.default_rng(seed)
    times = {name: rng.uniform(1, 2) for name in plan.probes}
    terms = raw_terms(plan, times)
    assert min(time for pairs, time in terms.items() if pairs) >= 0


def test_nested_choices_are_paid_where_they_are_asked(nested_space):
    choices = itertools.product("12", "13")
    check_sums(nested_space, [{"depth": d, "kernel": k} for d, k in choices])


def test_whole_networks_are_distinct_and_reach_their_output():
    space = create_space("nasbench201", channels=2, cells_per_stage=1)
    networks = make_plan(space, 1, 12, seed=3).networks
    assert len(set(networks.values())) == 12
    assert all(space.canonical(a) == a for a in networks.values())
    assert make_plan(space, 1, 12, seed=3).networks == networks
