"""The code printed for timm builds the same network."""

import numpy as np
import pytest
import torch

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.export.timm_strings import timm_arch_def, timm_code
from tests.export.networks import settled

OPTIONS = {"num_classes": 7, "input_shape": (3, 32, 32)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet-v2", {"skeleton": "ddpnas-cpu", "width": 0.35, "reduction": 16}),
        ("mobilenet-v2", {"width": 0.5}),
        ("mobilenet-v3", {"width": 0.75, "reduction": 8, "dropout": 0.3}),
        ("mnasnet", {"width": 0.25, "reduction": 8}),
    ],
)
def test_timm_builds_a_network_of_the_same_size_and_with_its_weights_the_same(name, options):
    space = ddpnas.create_space(name, **OPTIONS, **options)
    architecture = space.sample(np.random.default_rng(1))
    network = settled(space.build(architecture))
    scope = {}
    exec(timm_code(space, architecture), scope)  # noqa: S102
    model = scope["model"].eval()
    assert scope["arch_def"] == timm_arch_def(space, architecture)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in network.parameters()
    )
    weights = network.state_dict().values()
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(x), network(x), atol=1e-4, rtol=1e-3)


def test_other_spaces_are_refused_in_a_sentence():
    space = ddpnas.create_space("toy")
    with pytest.raises(OptionError, match="for mobile networks only .* not for space 'toy'"):
        timm_arch_def(space, space.sample(np.random.default_rng(0)))
