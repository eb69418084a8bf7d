"""The MobileNetV3 space of Once-for-All."""

import pytest

from ddpnas import count_costs, create_space
from ddpnas.errors import ArchitectureError
from ddpnas.generation.cost_ranges import cost_bounds
from ddpnas.space.layers import SqueezeExcite

from ..conftest import published_space

SPACE = create_space("mobilenet-v3", width=0.25, input_shape=(3, 32, 32), num_classes=5)


def all_of(option, fourth=None):
    return {
        d.name: (fourth or option) if d.name.endswith("block4") else option for d in SPACE.decisions
    }


def test_a_unit_has_two_to_four_blocks_of_nine_kinds():
    assert SPACE.valid_size == (9**2 + 9**3 + 9**4) ** 5
    assert SPACE.check(all_of("k3_e3", "skip"))


def test_the_fourth_block_needs_the_third_in_a_final_network_only():
    broken = {**all_of("k5_e6"), "unit2.block3": "skip"}
    with pytest.raises(ArchitectureError, match="unit 2 has its fourth block only with the third"):
        SPACE.build(broken)
    SPACE.supernet().set_path(broken)
    canonical = {**all_of("k5_e6"), "unit2.block4": "skip"}
    assert SPACE.canonical(broken) == SPACE.check(canonical)
    assert "'skip', 'ir_" in SPACE.format(broken)


def test_the_text_form_is_timms():
    text = SPACE.format(all_of("k5_e4", "skip"))
    assert text.startswith(
        "[['ds_r1_k3_s1_c8_nre'], ['ir_r1_k5_s2_e4_c8_nre', 'ir_r1_k5_s1_e4_c8_nre', "
        "'ir_r1_k5_s1_e4_c8_nre'], ['ir_r1_k5_s2_e4_c16_se0.25_nre'"
    )
    twice = "'ir_r1_k5_s1_e4_c8_nre', 'ir_r1_k5_s1_e4_c8_nre'"
    repeated = text.replace(twice, "'ir_r2_k5_s1_e4_c8_nre'")
    assert repeated != text and dict(SPACE.parse(repeated)) == all_of("k5_e4", "skip")
    with pytest.raises(ArchitectureError, match="the first stage is fixed"):
        SPACE.parse(text.replace("ds_r1_k3", "ds_r1_k5"))


def test_units_two_four_and_five_squeeze_and_excite():
    network = SPACE.build(all_of("k3_e3"))
    assert sum(isinstance(m, SqueezeExcite) for m in network.modules()) == 3 * 4


def test_there_are_as_many_networks_as_the_paper_says():
    assert SPACE.valid_size == pytest.approx(2e19, rel=0.1)


def test_multiply_adds_reach_from_120_to_600_million():
    space = published_space("mobilenet-v3")
    macs = count_costs(space)["macs"]
    assert cost_bounds(macs, space)[0] == pytest.approx(121e6, rel=0.01)
    assert macs.cost(all_of("k7_e6")) == pytest.approx(560e6, rel=0.1)
