"""Every published space's networks, and a user's own, become files that compute the same."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import export_onnx
from ddpnas.export import Deployable, Input, OnnxFile
from ddpnas.spaces import shufflenet
from tests.export.networks import settled, small_network

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ddpnas.list_spaces())
def test_the_file_computes_what_the_network_does_and_is_as_large_as_claimed(
    name, tmp_path, monkeypatch
):
    # A file takes its time by the operation: of blocks that are alike, two a stage are enough.
    monkeypatch.setattr(shufflenet, "STAGES", [(width, 2) for width, _ in shufflenet.STAGES])
    space, network = small_network(name)
    done = export_onnx(Deployable(network, Input(space.input_shape)), tmp_path / "net.onnx")
    assert done.agreement.equal_top1 == done.agreement.inputs == 64
    claimed = ddpnas.count_network(network, space.input_shape)
    counts = done.counts
    assert counts.add_up, counts.explain()
    assert counts.network.macs == claimed["macs"]
    assert counts.network.params == claimed["params"]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert counts.folded_params <= sum(m.num_features for m in norms)
    aside = getattr(network, "auxiliary", nn.Identity())  # the second classifier of DARTS
    if name == "darts":
        assert counts.unreachable.params == sum(p.numel() for p in aside.parameters()) > 0
    x = torch.randn(3, *space.input_shape)
    with torch.no_grad():
        assert torch.allclose(OnnxFile(done.path).outputs(x), network(x), atol=1e-4)


def own_network(choose, num_classes=4, input_shape=(1, 12, 10)):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 6, 3, stride=2),
        nn.BatchNorm2d(6),
        choose("gate", {"gelu": nn.GELU, "swish": nn.SiLU}),
        choose("wide", {"pool": lambda: nn.AvgPool2d(2), "conv": lambda: nn.Conv2d(6, 6, 2, 2)}),
        nn.Flatten(),
        nn.Linear(24, num_classes),
    )


@pytest.mark.parametrize("wide", ["pool", "conv"])
def test_a_users_own_space(wide, tmp_path):
    space = ddpnas.SearchSpace(own_network)
    network = settled(space.build({"gate": "gelu", "wide": wide}))
    done = export_onnx(Deployable(network, Input(space.input_shape)), tmp_path / "net.onnx")
    assert done.counts.add_up
    assert done.counts.folded_params == 12  # the convolution before BatchNorm has a bias already


def test_a_network_over_tokens(tmp_path):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.mix = nn.Linear(8, 24)
            self.last = nn.Linear(8, 3)

        def forward(self, tokens):
            x = self.embed(tokens)
            parts = self.mix(x)[:, None].chunk(3, dim=-1)  # one head
            x = x + nn.functional.scaled_dot_product_attention(*parts)[:, 0]
            return self.last(x.mean(1))

    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 20, (30, 6)))
    model = Deployable(Words(), Input((6,), dtype=torch.int64))
    done = export_onnx(model, tmp_path / "net.onnx", images=tokens)
    assert done.agreement.inputs == 30
    assert OnnxFile(done.path).takes.dtype == torch.int64
    assert done.counts.add_up and done.counts.file.macs == 6 * 8 * 24 + 2 * 6 * 6 * 8 + 8 * 3
