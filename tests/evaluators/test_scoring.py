import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas.distributed import ALONE
from ddpnas.evaluators.scoring import verdicts


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


FACTORS = {f"x{2**k:g}": 2.0**k for k in (-1, 0, 1, 2)}


def space():
    def network(choose):
        return choose("surer", {n: lambda f=f: Times(f) for n, f in FACTORS.items()})

    return ddpnas.SearchSpace(network, (3,))


def honest_batches(n=4000):
    """Outputs that are as sure as they should be: labels are drawn from their softmax."""
    generator = torch.Generator().manual_seed(0)
    outputs = 2 * torch.randn(n, 3, generator=generator)
    labels = torch.multinomial(outputs.softmax(dim=1), 1, generator=generator)[:, 0]
    return list(zip(outputs.split(700), labels.split(700), strict=True))


def verdicts_of_all():
    one = space()
    paths = [one.parse(f"surer={name}") for name in FACTORS]
    batches = honest_batches()
    found = verdicts(one.supernet().eval(), one.decisions, paths, batches, ALONE)
    return dict(zip(FACTORS.values(), found, strict=True)), batches


def test_accuracy_and_loss_are_means_over_all_images_not_over_batches():
    found, batches = verdicts_of_all()
    outputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    for factor, verdict in found.items():
        assert verdict.accuracy == float((outputs.argmax(dim=1) == labels).double().mean())
        expected = float(functional.cross_entropy(factor * outputs.double(), labels))
        assert verdict.loss == pytest.approx(expected, rel=1e-6)


def test_how_sure_a_path_is_of_itself_changes_its_loss_but_not_its_calibrated_loss():
    found, _ = verdicts_of_all()
    calibrated = [verdict.calibrated_loss for verdict in found.values()]
    assert max(calibrated) == pytest.approx(min(calibrated), rel=1e-6)
    for factor, verdict in found.items():
        assert verdict.temperature == pytest.approx(factor)
        if factor != 1:
            assert verdict.loss > verdict.calibrated_loss + 1e-3
    assert found[1].loss == found[1].calibrated_loss


def test_outputs_that_say_nothing_have_the_loss_of_a_guess_at_any_temperature():
    one = space()
    batches = [(torch.zeros(6, 3), torch.tensor([0, 1, 2] * 2))]
    path = one.parse("surer=x1")
    (verdict,) = verdicts(one.supernet().eval(), one.decisions, [path], batches, ALONE)
    assert verdict.calibrated_loss == pytest.approx(math.log(3))
    assert verdict.accuracy == pytest.approx(1 / 3)
