import pytest
import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas.evaluators.scoring import score_paths
from ddpnas.training.distributed import ALONE


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


FACTORS = {"half": 0.5, "once": 1.0, "minus": -1.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("names", [["once"], list(FACTORS)])
def test_accuracy_and_loss_are_means_over_all_images_not_over_batches(names, dtype):
    def network(choose):
        return choose("times", {n: lambda f=f: Times(f) for n, f in FACTORS.items()})

    space = ddpnas.SearchSpace(network, (3,))
    paths = [space.parse(f"times={name}") for name in names]
    generator = torch.Generator().manual_seed(0)
    outputs = (2 * torch.randn(1500, 3, generator=generator)).to(dtype)
    labels = torch.randint(0, 3, (1500,), generator=generator)
    batches = list(zip(outputs.split(700), labels.split(700), strict=True))
    found = score_paths(space.supernet().eval(), space.decisions, paths, batches, ALONE)
    for name, score in zip(names, found, strict=True):
        of_path = FACTORS[name] * outputs.double()
        assert score.accuracy == float((of_path.argmax(dim=1) == labels).double().mean())
        assert score.loss == pytest.approx(float(functional.cross_entropy(of_path, labels)))
