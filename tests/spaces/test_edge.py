"""The space edge: sized by limits, with standard designs in it."""

from __future__ import annotations

import functools

import pytest

from ddpnas import SearchSpace, count_costs, count_network, create_space
from ddpnas.errors import InfeasibleError, OptionError, SpaceError
from ddpnas.generation import cost_ranges
from ddpnas.spaces.edge import DESIGNS, MACS_PER_PIXEL
from ddpnas.spaces.edge_network import network
from ddpnas.testing import SpaceContract

TINY = {
    "stem": (4, 8), "stages": ((4, 8), (8, 12)), "head": (8, 16), "depths": (1, 2),
    "expansions": (1, 2),
}  # fmt: skip


class TestTiny(SpaceContract):
    def make_space(self):
        return create_space("edge", input_shape=(1, 8, 8), **TINY)


LARGER = {"stem": (8, 12, 16, 24, 32), "stages": ((8, 12, 16), (16, 24, 32), (32, 48, 64))}


@pytest.mark.parametrize("options", [TINY, pytest.param(LARGER, marks=pytest.mark.slow)])
def test_every_layer_follows_its_widths(options):
    """As a function of a user, the network is tried at many sizes, unlike a published space."""
    shape = (1, 8, 8)
    tried = SearchSpace(functools.partial(network, **options), shape)
    assert tried.decisions == create_space("edge", input_shape=shape, **options).decisions


@functools.cache
def sized(shape, name, limit):
    return create_space("edge", input_shape=shape, limits={name: limit})


@pytest.mark.parametrize(
    ("shape", "name", "limit"),
    [
        ((1, 28, 28), "macs", 2e6),
        ((3, 32, 32), "params", 1e5),
        ((3, 64, 64), "peak_activation_bytes", 4e5),
        ((3, 224, 224), "macs", 3e8),
    ],
)
@pytest.mark.slow
def test_the_limit_lies_well_inside(shape, name, limit):
    """The space has networks of a third of the limit and less, and of three times and more.

    The peak of the memory depends on the resolution more than on widths.
    """
    times = 1.5 if name == "peak_activation_bytes" else 3
    space = sized(shape, name, limit)
    if name == "peak_activation_bytes":
        ends = [0, -1]
        networks = [space.decode([e % len(d.options) for d in space.decisions]) for e in ends]
        least, most = (count_network(space.build(a), shape)[name] for a in networks)
    else:
        [found] = cost_ranges(space, {name: count_costs(space)[name]})
        least, most = found.least, found.most
    assert least < limit / times
    assert most > limit * times


@pytest.mark.parametrize(("shape", "stride", "stages"), [((1, 28, 28), 2, 3), ((1, 8, 8), 1, 2)])
def test_without_limits_the_images_size_the_space(shape, stride, stages):
    """The middle of a space costs about as much for each pixel, whatever the images are."""
    space = create_space("edge", input_shape=shape, depths=(2,), expansions=(1,))
    assert (space.options["stem_stride"], len(space.options["stages"])) == (stride, stages)
    macs = MACS_PER_PIXEL * shape[1] * shape[2]
    again = create_space(
        "edge", input_shape=shape, depths=(2,), expansions=(1,), limits={"macs": macs}
    )
    assert space.options == again.options
    found = space.scaled("residual", {"macs": macs})
    assert 0.6 * macs < count_network(space.build(found), shape)["macs"] <= macs


def test_a_limit_without_an_upper_end_sizes_by_the_lower_one():
    """At least 2 M multiply-adds is in the middle of the space, too."""
    shape, few = (1, 28, 28), {"depths": (1,), "expansions": (1,)}
    spaces = [
        create_space("edge", input_shape=shape, limits={"macs": limit}, **few)
        for limit in ("2M", ">=2M", "1M..2M")
    ]
    assert len({str(space.options) for space in spaces}) == 1


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_standard_designs_fill_the_limit(design):
    """A scaled design is within the limits, and close to the first that binds."""
    space = sized((1, 28, 28), "macs", 2e6)
    found = space.scaled(design, {"macs": "2M", "params": "1M"})
    assert space.check(found) == space.canonical(found) == found
    costs = count_network(space.build(found), (1, 28, 28))
    assert 1.8e6 < costs["macs"] <= 2e6
    blocks = {found[f"s{i}.block"] for i in (1, 2, 3)}
    assert blocks == {*DESIGNS[design]["blocks"]}


@pytest.mark.parametrize("design", sorted(DESIGNS))
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 28, 28), {"limits": {"macs": "2M"}, "depths": (1,)}),
        ((3, 128, 128), {"stem": (8,), "stages": ((8, 16),) * 6, "head": (16,), "depths": (1, 2)}),
    ],
)
def test_standard_designs_are_in_spaces_of_one_depth_and_of_many_stages(design, shape, options):
    space = create_space("edge", input_shape=shape, **options)
    found = space.scaled(design, {"macs": "1G"})
    assert space.check(found) == found
    last = len(space.options["stages"])
    assert found[f"s{last}.block"] == DESIGNS[design]["blocks"][-1]


def test_a_design_that_cannot_be_narrow_enough_is_refused():
    """A limit below the narrowest network of a design is a clear error."""
    space = create_space("edge", input_shape=(1, 8, 8), **TINY)
    with pytest.raises(InfeasibleError, match="no residual network"):
        space.scaled("residual", {"macs": 100})
    with pytest.raises(InfeasibleError, match="widest residual .*params.* at least 1,000,000"):
        space.scaled("residual", {"macs": "200K", "params": ">=1M"})


@pytest.mark.parametrize("name", ["edge", "elastic-mobilenet-v3"])
def test_empty_depths_are_refused_in_a_short_sentence(name):
    with pytest.raises(SpaceError, match=r"^depths must name at least one number of blocks"):
        create_space(name, depths=())


def test_an_input_without_sides_is_refused():
    with pytest.raises(SpaceError, match=r"takes images, .* not inputs of shape \(\)"):
        create_space("edge", input_shape=())


def test_options_that_contradict_each_other_are_refused():
    """Sizes follow from limits or are given; limits are of counted costs; designs have names."""
    with pytest.raises(OptionError, match="stages, not both"):
        create_space("edge", limits={"macs": "2M"}, stages=TINY["stages"])
    with pytest.raises(OptionError, match="limits"):
        create_space("toy", limits={"macs": "2M"})
    with pytest.raises(OptionError, match="not by latency_ms"):
        create_space("edge", limits={"latency_ms": 3})
    with pytest.raises(SpaceError, match="takes images, .*not inputs of shape .16,"):
        create_space("edge", input_shape=(16,))
    with pytest.raises(OptionError, match="residual"):
        create_space("edge", input_shape=(1, 8, 8), **TINY).scaled("residul", {"macs": 1e6})


def test_blocks_of_several_depths_are_shared():
    """A deeper network has the blocks of a shallower one, so the supernet has each once."""
    space = create_space("edge", input_shape=(1, 8, 8), **TINY)
    supernet = space.supernet()
    options = {d.name: d.options[0] for d in space.decisions}
    counts = []
    for depth in ("1", "2"):
        supernet.set_path({**options, "s1.depth": depth})
        counts.append({id(p) for p in supernet.path_parameters()})
    assert counts[0] < counts[1]
