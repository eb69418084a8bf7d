"""How much can be cut of 60 networks: the first of 30 torchvision and of 30 timm families."""

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision

import ddpnas
from ddpnas.shrinking import cut_channels, find_groups
from ddpnas.shrinking.cutting import resize
from ddpnas.space.meta import make_network, move_to_meta

# The share of the multiply-adds, in percent, that goes at the smallest widths is at least this.
FLOORS = {
    "torchvision:resnet18": 97, "torchvision:resnet50": 97, "torchvision:mobilenet_v2": 95,
    "torchvision:mobilenet_v3_large": 94, "torchvision:efficientnet_b0": 95,
    "torchvision:densenet121": 96, "torchvision:regnet_y_400mf": 95,
    "torchvision:shufflenet_v2_x1_0": 95, "torchvision:convnext_tiny": 97,
    "timm:tf_efficientnet_lite0": 95,
}  # fmt: skip

OTHERS = {
    "torchvision:alexnet": 97, "torchvision:efficientnet_v2_s": 97, "torchvision:googlenet": 97,
    "torchvision:inception_v3": 97, "torchvision:mnasnet0_5": 90,
    "torchvision:mobilenet_v3_small": 90, "torchvision:regnet_x_400mf": 93,
    "torchvision:resnext50_32x4d": 97, "torchvision:squeezenet1_0": 93, "torchvision:swin_t": 54,
    "torchvision:swin_v2_t": 49, "torchvision:vgg11": 98, "torchvision:vgg11_bn": 98,
    "torchvision:vit_b_32": 56, "torchvision:wide_resnet50_2": 98,
    "torchvision:deeplabv3_mobilenet_v3_large": 97, "torchvision:lraspp_mobilenet_v3_large": 96,
    "torchvision:fcn_resnet50": 98, "torchvision:r3d_18": 98, "torchvision:mc3_18": 98,
    "torchvision:s3d": 90,
}  # fmt: skip

TIMM = "1.0.31"

# The first model of each family (a file of timm) in timm.list_models().
FIRST = {
    "timm:bat_resnext26ts": 91, "timm:botnet26t_256": 92, "timm:coatnet_0_224": 93,
    "timm:convit_base": 55, "timm:convmixer_768_32": 97, "timm:convnext_atto": 97,
    "timm:cpubone_b0_bfrobust": 72, "timm:crossvit_9_240": 38, "timm:csatv2": 89,
    "timm:cspnext_l": 98, "timm:deit3_base_patch16_224": 90, "timm:densenet121": 96,
    "timm:dla34": 95, "timm:dm_nfnet_f0": 89, "timm:eca_vovnet39b": 89, "timm:ecaresnet26t": 81,
    "timm:edgenext_base": 79, "timm:efficientformer_l1": 97, "timm:efficientformerv2_l": 93,
    "timm:efficientnet_b0": 95, "timm:efficientvim_m1": 74, "timm:efficientvit_b0": 82,
    "timm:eva02_base_patch14_224": 54, "timm:fbnetv3_b": 94, "timm:gcvit_base": 42,
    "timm:gemma4_vit_167m": 44, "timm:ghostnet_050": 71, "timm:gmixer_12_224": 98,
    "timm:hardcorenas_a": 94, "timm:hgnet_base": 98,
}  # fmt: skip

# First models of other families, before the last of those, that take more than 10 seconds: finding
# their groups takes this many on a busy core. Most are large, and many groups of theirs are fixed,
# which one trial after the other has to find out.
TOO_LONG = {
    "aimv2_1b_patch14_224": 26, "beit_base_patch16_224": 14, "caformer_b36": 31, "cait_m36_384": 38,
    "coat_lite_medium": 30, "cs3darknet_focus_l": 20, "davit_base": 33, "deepseek_vit_412m": 14,
    "dpn48b": 13, "efficientvit_m0": 56, "fasternet_l": 30, "fastvit_ma36": 29,
    "focalnet_base_lrf": 103,
}  # fmt: skip

# Smaller models of these families, and of three others.
SMALLER = {
    "timm:cait_xxs24_224": 48, "timm:coat_tiny": 53, "timm:convit_tiny": 48,
    "timm:cs3darknet_focus_s": 88, "timm:darknet17": 97, "timm:fastvit_t8": 96,
    "timm:hrnet_w18_small": 96, "timm:levit_128s": 85,
}  # fmt: skip

ALL = {**FLOORS, **OTHERS, **FIRST, **SMALLER}

INPUTS = {
    "torchvision:inception_v3": (3, 299, 299), "torchvision:r3d_18": (3, 16, 112, 112),
    "torchvision:mc3_18": (3, 16, 112, 112), "torchvision:s3d": (3, 16, 224, 224),
}  # fmt: skip


def opened(name):
    """Return (the network without values, the shape of its input)."""
    library, _, model = name.partition(":")

    def make():
        if library == "timm":
            return timm.create_model(model)
        backbone = {"weights_backbone": None} if "deeplab" in model or "fcn" in model else {}
        backbone = {"weights_backbone": None} if "lraspp" in model else backbone
        return torchvision.models.get_model(model, **backbone)

    with torch.device("meta"):
        network = move_to_meta(make_network(make)).eval()
    own = network.default_cfg["input_size"] if library == "timm" else (3, 224, 224)
    return network, INPUTS.get(name, tuple(own))


def test_the_models_of_timm_are_the_first_of_each_family():
    if timm.__version__ != TIMM:
        pytest.skip(f"the list is that of timm {TIMM}")
    families = {}
    for name in timm.list_models():
        families.setdefault(timm.model_entrypoint(name).__module__, name)
    listed = [name.removeprefix("timm:") for name in FIRST] + [*TOO_LONG]
    assert len(FIRST) == 30 and {*listed} == {*[*families.values()][: len(listed)]}


def macs(network, shape):
    return ddpnas.count_network(network, shape)["macs"]


def shapes(network, shape):
    with torch.no_grad():
        output = network(torch.empty(2, *shape, device="meta"))
    return [tuple(t.shape) for t in torch.utils._pytree.tree_leaves(output)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_free_group_is_cut_and_what_is_impossible_fails_when_forced(name):
    if name.startswith("timm:") and timm.__version__ != TIMM:
        pytest.skip(f"the shares are those of timm {TIMM}")
    network, shape = opened(name)
    groups, rng = find_groups(network, shape), np.random.default_rng(0)
    whole, expected = macs(network, shape), shapes(network, shape)
    smallest = cut_channels(network, groups, {g.name: g.widths[0] for g in groups})
    assert shapes(smallest, shape) == expected
    gone = 100 * (1 - macs(smallest, shape) / whole)
    assert gone >= ALL[name], f"{gone:.1f} % can go"
    mixed = {g.name: int(rng.choice(g.widths)) for g in groups}
    assert shapes(cut_channels(network, groups, mixed), shape) == expected
    for group in groups:
        assert group.free == (not group.fixed) and (group.free or not group.is_open)
        if group.kind == "impossible" and "a size that does not shrink" not in group.fixed:
            assert fails_when_forced(network, shape, group, expected), group.name


def fails_when_forced(network, shape, group, expected):
    forced = copy.deepcopy(network)
    tensors = dict([*forced.named_parameters(), *forced.named_buffers()])
    positions = {}
    for part in group.parts:
        for axis, places in part.members.items():
            size = tensors[axis.tensor].shape[axis.index]
            positions[axis] = np.setdiff1d(np.arange(size), places[len(places) // 2 :])
    resize(forced, positions)
    try:
        return shapes(forced, shape) != expected
    except Exception:  # noqa: BLE001 - whatever the network's code raises
        return True
