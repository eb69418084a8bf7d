"""RepVGG blocks: what they compute with branches, and as one convolution."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.space.repvgg import RepVGGBlock, merge_branches

# Widths of RepVGG-B1 that Pruning-as-Search (arXiv 2206.01198) ends with, as its code lists them.
PUBLISHED = (
    (8,),
    (20, 16, 15, 10),
    (49, 41, 36, 34, 39, 31),
    (125, 107, 102, 97, 106, 123, 127, 170, 196, 202, 232, 269, 315, 425, 475, 450),
    (2048,),
)


def with_statistics(network):
    """Give BatchNorm something to do."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def stages(widths, given=3):
    layers = []
    for stage in widths:
        for number, width in enumerate(stage):
            layers.append(
                RepVGGBlock(given, width, stride=2 if number == 0 else 1, searching=False)
            )
            given = width
    return nn.Sequential(*layers)


def test_merged_it_computes_the_same_with_one_convolution_a_block():
    torch.manual_seed(0)
    network = with_statistics(stages(((8,), (12, 12, 12), (16, 16))))
    merged = merge_branches(network)
    inputs = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        expected = network(inputs)
        torch.testing.assert_close(merged(inputs), expected, rtol=1e-5, atol=1e-5)
    assert sum(isinstance(module, nn.Conv2d) for module in merged.modules()) == 6
    assert sum(isinstance(module, nn.BatchNorm2d) for module in merged.modules()) == 0
    assert isinstance(network[0], RepVGGBlock)


def test_the_published_widths_have_the_published_count():
    with torch.device("meta"):
        merged = merge_branches(stages(PUBLISHED))
    macs = ddpnas.count_network(merged, (3, 224, 224))["macs"]
    assert round(macs / 1e9, 3) == 2.102


def test_a_space_has_its_width_and_builds_it_merged_or_not():
    def network(choose, num_classes=3, input_shape=(1, 8, 8)):
        width = choose.width("width", (4, 8))
        block = RepVGGBlock(width, width, searching=choose.searching)
        layers = [nn.Conv2d(input_shape[0], width, 1), block, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(width, num_classes))

    space = ddpnas.SearchSpace(network, (1, 8, 8))
    built = space.build({"width": "4"})
    assert isinstance(built[1], RepVGGBlock) and isinstance(merge_branches(built)[1], nn.Sequential)
    with pytest.raises(OptionError, match="part of a supernet"):
        merge_branches(space.supernet(seed=0))


def test_exported_files_are_merged(tmp_path):
    from ddpnas.export import Deployable, Input

    layers = [*stages(((4, 4),), 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    model = Deployable(with_statistics(nn.Sequential(*layers)), Input((1, 8, 8)))
    done = ddpnas.export_onnx(model, tmp_path / "net.onnx")
    assert done.counts.file.params == 4 * 9 + 4 + 4 * 4 * 9 + 4 + 4 * 2 + 2
