"""What can be cut of 30 networks of torchvision and 30 of timm, one or two of each family."""

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
    "timm:bat_resnext26ts": 78, "timm:botnet26t_256": 92, "timm:cait_xxs24_224": 48,
    "timm:coat_tiny": 53, "timm:coatnet_nano_rw_224": 91, "timm:convmixer_768_32": 97,
    "timm:convnextv2_atto": 97, "timm:crossvit_9_240": 38, "timm:cs3darknet_focus_s": 88,
    "timm:darknet17": 97, "timm:deit3_small_patch16_224": 87, "timm:dla34": 95,
    "timm:dm_nfnet_f0": 89, "timm:ecaresnet26t": 81, "timm:edgenext_xx_small": 71,
    "timm:efficientformer_l1": 97, "timm:efficientvit_b0": 82, "timm:ese_vovnet19b_dw": 98,
    "timm:fastvit_t8": 96, "timm:fbnetc_100": 95, "timm:gcresnet33ts": 98,
    "timm:ghostnet_050": 71, "timm:hardcorenas_a": 94, "timm:hgnetv2_b0": 92,
    "timm:hrnet_w18_small": 96, "timm:inception_next_atto": 80, "timm:lcnet_035": 77,
    "timm:levit_128s": 85, "timm:mixer_s32_224": 97,
}  # fmt: skip

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


def macs(network, shape):
    return ddpnas.count_network(network, shape)["macs"]


def shapes(network, shape):
    with torch.no_grad():
        output = network(torch.empty(2, *shape, device="meta"))
    return [tuple(t.shape) for t in torch.utils._pytree.tree_leaves(output)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FLOORS, *OTHERS])
def test_every_free_group_is_cut_and_what_is_impossible_fails_when_forced(name):
    network, shape = opened(name)
    groups, rng = find_groups(network, shape), np.random.default_rng(0)
    whole, expected = macs(network, shape), shapes(network, shape)
    smallest = cut_channels(network, groups, {g.name: g.widths[0] for g in groups})
    assert shapes(smallest, shape) == expected
    gone = 100 * (1 - macs(smallest, shape) / whole)
    assert gone >= {**FLOORS, **OTHERS}[name], f"{gone:.1f} % can go"
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
