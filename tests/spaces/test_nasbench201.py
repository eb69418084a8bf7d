"""The NAS-Bench-201 space against figures that the benchmark publishes."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpnas import benchmarks, count_costs, create_space
from ddpnas.errors import ArchitectureError
from ddpnas.spaces.nasbench201 import EDGES, OPERATIONS

from ..conftest import published_costs, published_space

SPACE = published_space("nasbench201")
RESNET = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)


def random_cells(n, seed=0):
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(n)]


def test_there_are_15625_cells_of_six_edges_and_five_operations():
    assert SPACE.size == 15_625 == len(OPERATIONS) ** len(EDGES)


@pytest.mark.parametrize(
    ("cell", "params", "macs"),
    [
        # Row 1 of the benchmark, its largest network, and the one without any convolution.
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|"
            "+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
            802_426,
            113_951_360,
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
            "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            1_531_546,
            220_119_680,
        ),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 73_306, 7_783_040),
    ],
)
def test_parameters_and_multiply_adds_are_those_of_the_benchmark(cell, params, macs):
    costs = published_costs("nasbench201")
    architecture = SPACE.parse(cell)
    assert costs["params"].cost(architecture) == params
    assert costs["macs"].cost(architecture) == macs
    assert sum(p.numel() for p in SPACE.build(architecture).parameters()) == params


def test_costs_of_all_15625_cells_equal_the_benchmarks_table():
    table = benchmarks.load_table("nasbench201")
    costs = published_costs("nasbench201")
    for choice in itertools.product(OPERATIONS, repeat=len(EDGES)):
        cell = {f"{i}<-{j}": op for (i, j), op in zip(EDGES, choice)}
        row = table.row(cell)
        assert costs["macs"].cost(cell) == table.macs[row]
        assert costs["params"].cost(cell) == table.params[row]


def test_the_text_is_the_published_one_and_is_read_again():
    cell = SPACE.parse(RESNET)
    assert cell["1<-0"] == "nor_conv_3x3" and cell["3<-0"] == "skip_connect"
    assert SPACE.format(cell) == RESNET
    for cell in random_cells(50):
        assert SPACE.parse(SPACE.format(cell)) == cell


@pytest.mark.parametrize(
    "text",
    ["", "nor_conv_3x3", RESNET[:-1], RESNET.replace("~2", "~1"), RESNET + "|none~0|"],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ArchitectureError, match="the form is"):
        SPACE.parse(text)
    with pytest.raises(ArchitectureError, match="did you mean 'nor_conv_3x3'"):
        SPACE.parse(RESNET.replace("nor_conv_3x3~0", "nor_conv_7x7~0", 1))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 16, 16), (1, 28, 28), (4, 30, 17)])
def test_networks_run_at_any_size(shape):
    space = create_space(
        "nasbench201", channels=4, cells_per_stage=1, num_classes=7, input_shape=shape
    )
    assert space.build(random_cells(1)[0])(torch.randn(2, *shape)).shape == (2, 7)


def test_a_cell_is_the_sum_over_its_edges():
    torch.manual_seed(0)
    space = create_space("nasbench201", channels=3, cells_per_stage=1, input_shape=(3, 6, 6))
    cell = "|skip_connect~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    built = space.build(space.parse(cell)).eval()[2]
    x = torch.randn(2, 3, 6, 6)
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(built(x), x + pool(x))


def test_a_node_without_inputs_is_zero_and_the_network_still_learns():
    space = create_space("nasbench201", channels=2, cells_per_stage=1, input_shape=(1, 8, 8))
    built = space.build(space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
    built(torch.randn(4, 1, 8, 8)).sum().backward()
    assert built[-1].bias.grad is not None


def test_what_does_not_lead_to_the_output_costs_a_path_nothing_and_changes_nothing():
    torch.manual_seed(0)
    space = create_space("nasbench201", channels=4, cells_per_stage=1, input_shape=(3, 8, 8))
    supernet = space.supernet().train()
    x = torch.randn(4, 3, 8, 8)
    conv = 2 * 4 * (4 * 4 * 8 * 8 + 8 * 8 * 4 * 4 + 16 * 16 * 2 * 2)  # a 1x1 edge, three cells

    def run(cell):
        supernet.set_path(space.parse(cell))
        counter = FlopCounterMode(display=False)
        with counter:
            outputs = supernet(x)
        return outputs, counter.get_total_flops()

    dead_end, nothing = run("|none~0|+|nor_conv_1x1~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    leading, needed = run("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    assert torch.equal(dead_end, leading) and nothing == needed
    from_zeros, nothing = run("|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_1x1~0|none~1|none~2|")
    assert torch.equal(from_zeros, leading) and nothing == needed
    _, more = run("|none~0|+|nor_conv_1x1~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")
    assert more - needed == conv


def test_a_network_of_one_cell_runs_what_it_has_and_counts():
    """The published multiply-adds count edges that lead nowhere."""
    space = create_space("nasbench201", channels=4, cells_per_stage=1, input_shape=(3, 8, 8))
    cell = space.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|none~0|none~1|none~2|")
    counter = FlopCounterMode(display=False)
    with counter:
        space.build(cell)(torch.randn(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * count_costs(space)["macs"].cost(cell)


def test_supernet_and_network_normalise_as_is_usual_for_each():
    space = create_space("nasbench201", channels=2, cells_per_stage=1)
    inside = [m for m in space.supernet().modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.track_running_stats for m in inside)
    assert {m.affine for m in inside} == {True, False}
    built = [m for m in space.build(space.parse(RESNET)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.affine and m.track_running_stats for m in built)


def test_every_path_equals_the_network_built_with_its_weights():
    torch.manual_seed(0)
    space = create_space("nasbench201", channels=4, cells_per_stage=2, input_shape=(3, 8, 8))
    supernet = space.supernet()
    x = torch.randn(4, 3, 8, 8)
    for cell in random_cells(20):
        supernet.set_path(cell)
        built = space.build(cell, weights_from=supernet).train()
        torch.testing.assert_close(built(x), supernet(x))


def test_a_built_network_is_plain():
    for cell in random_cells(5):
        modules = {type(m).__module__ for m in SPACE.build(cell).modules()}
        assert all(
            m.startswith("torch.") or m in ("ddpnas.space.layers", "ddpnas.spaces.nasbench201")
            for m in modules
        )
