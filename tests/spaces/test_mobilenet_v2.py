"""The MobileNetV2 chain against torchvision's network and the skeletons of DDPNAS."""

import numpy as np
import pytest
import torch
import torchvision

from ddpnas import count_costs, create_space
from ddpnas.errors import ArchitectureError, OptionError, SpaceError
from ddpnas.spaces.mobilenet_v2 import timm_stages

from ..conftest import published_costs, published_space

SPACE = published_space("mobilenet-v2", skeleton="mobilenet-v2")
MOBILENET_V2 = SPACE.parse(
    "[['ds_r1_k3_s1_c16'], ['ir_r2_k3_s2_e6_c24'], ['ir_r3_k3_s2_e6_c32'], "
    "['ir_r4_k3_s2_e6_c64'], ['ir_r3_k3_s1_e6_c96'], ['ir_r3_k3_s2_e6_c160'], "
    "['ir_r1_k3_s1_e6_c320']]"
)
GPU = (  # the network released with DDPNAS
    "[(7, 6), (7, 3), (5, 6), (7, 1), (3, 6), (7, 6), (5, 1), (5, 3), (5, 6), (7, 6), (7, 6), "
    "(5, 3), (7, 6), (5, 6)]"
)


def test_it_holds_mobilenet_v2():
    costs = published_costs("mobilenet-v2", skeleton="mobilenet-v2")
    assert costs["params"].cost(MOBILENET_V2) == 3_504_872
    assert costs["macs"].cost(MOBILENET_V2) == 300_774_272


def test_with_torchvisions_weights_it_gives_torchvisions_outputs():
    torch.manual_seed(0)
    reference = torchvision.models.mobilenet_v2().eval()
    network = SPACE.build(MOBILENET_V2).eval()
    mine, theirs = network.state_dict(), reference.state_dict()
    assert [t.shape for t in mine.values()] == [t.shape for t in theirs.values()]
    network.load_state_dict(dict(zip(mine, theirs.values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(images))


@pytest.mark.parametrize("width", [0.35, pytest.param(1.4, marks=pytest.mark.slow)])
def test_widths_are_torchvisions(width):
    wide = SPACE.with_options(width=width)
    with torch.device("meta"):
        reference = torchvision.models.mobilenet_v2(width_mult=width)
    expected = sum(p.numel() for p in reference.parameters())
    assert count_costs(wide)["params"].cost(MOBILENET_V2) == expected


def test_the_skeletons_of_ddpnas_have_14_and_20_blocks_without_skips():
    gpu = published_space("mobilenet-v2", skeleton="ddpnas-gpu")
    cpu = create_space("mobilenet-v2", skeleton="ddpnas-cpu")
    assert (len(gpu.decisions), len(cpu.decisions)) == (14, 20)
    assert all(len(d.options) == 9 for space in (gpu, cpu) for d in space.decisions)
    released = gpu.parse(GPU)
    assert gpu.format(released) == GPU == gpu.format(gpu.canonical(released))
    assert count_costs(gpu)["params"].cost(released) == 6_729_696


def test_the_proxyless_chain_has_21_blocks_of_which_the_first_of_a_stage_never_skips():
    space = published_space("mobilenet-v2")
    sizes = [len(d.options) for d in space.decisions]
    assert sizes == [9, 10, 10, 10] * 5 + [9]


def test_both_text_forms_are_read_and_skips_stand_last_in_the_canonical_form():
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = SPACE.sample(rng)
        assert SPACE.parse(SPACE.format(architecture)) == architecture
        strings = str(timm_stages(architecture, SPACE.options))
        assert SPACE.parse(strings) == SPACE.canonical(architecture)
    costs = published_costs("mobilenet-v2", skeleton="mobilenet-v2")
    for table in costs.values():
        assert table.cost(architecture) == table.cost(SPACE.canonical(architecture))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(3, 6)", "a list of 21"),
        ("[(3, 6)]", "a list of 21"),
        (str([(3, 6)] * 20 + [None]), "option of decision 'block21' 'skip'"),
        (str([(3, 5)] * 21), "'k3_e5'"),
        ("[['ir_r1_k3_s2_e6_c24']]", "1 stages given, the space has 7"),
        (str(timm_stages(MOBILENET_V2, SPACE.options)).replace("c64", "c72"), "it would be"),
        (
            str(timm_stages(MOBILENET_V2, SPACE.options)).replace("ds_", "cn_"),
            "cannot read the block",
        ),
    ],
)
def test_other_texts_are_refused(text, says):
    with pytest.raises(ArchitectureError, match=says):
        SPACE.parse(text)


def test_small_images_keep_their_size_longer():
    space = create_space("mobilenet-v2", reduction=8, input_shape=(3, 32, 32), width=0.35)
    network = space.build(space.sample(np.random.default_rng(0)))
    assert network[:-4](torch.randn(2, 3, 32, 32)).shape[-2:] == (4, 4)


def test_what_does_not_exist_is_told():
    with pytest.raises(OptionError, match="did you mean 'ddpnas-gpu'"):
        create_space("mobilenet-v2", skeleton="ddpnas-gpo")
    with pytest.raises((OptionError, SpaceError), match="power of 2"):
        create_space("mobilenet-v2", reduction=7)
