"""RMI: a training on one batch, scored by how close the features are to a teacher's."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.evaluators import RMIConfig, RMIEvaluator, create_evaluator, linear_cka
from ddpnas.evaluators.stage_features import StageFeatures
from ddpnas.testing import EvaluatorContract
from ddpnas.utils.seeds import seeded

QUICK = RMIConfig(images=32, steps=4)


def teacher(classes=2):
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )


class TestRMI(EvaluatorContract):
    def make_evaluator(self, space, data, seed):
        return RMIEvaluator(space, data, QUICK, seed=seed, device="cpu", teacher=teacher())


def test_cka_is_one_for_what_is_rotated_or_scaled_and_small_for_noise():
    torch.manual_seed(0)
    x = torch.randn(128, 8, dtype=torch.float64).float()
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    for same in (x, 3 * x, x @ rotation, x @ rotation + 5):
        assert linear_cka(x, same).item() == pytest.approx(1.0, abs=1e-5)
    assert linear_cka(x, torch.randn(128, 8)).item() < 0.2
    y = torch.randn(128, 5)
    centered = [one - one.mean(dim=0) for one in (x, y)]
    cross, first, second = (
        torch.linalg.matrix_norm(a.T @ b)
        for a, b in (centered, (centered[0],) * 2, (centered[1],) * 2)
    )
    torch.testing.assert_close(linear_cka(x, y), cross**2 / (first * second))


def test_features_are_those_at_the_end_of_each_resolution():
    torchvision = pytest.importorskip("torchvision")
    network, images = torchvision.models.resnet50(num_classes=3).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad(), StageFeatures(network, network, images[:1]) as features:
        network(images)
        found = features.last(3)
        x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        for one, layer in zip(found, (network.layer2, network.layer3, network.layer4)):
            x = layer(network.layer1(x)) if layer is network.layer2 else layer(x)
            assert torch.equal(one, x)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_teacher_itself_is_at_no_distance(stripes):
    space = ddpnas.SearchSpace(
        lambda choose: nn.Sequential(choose("a", {"x": lambda: teacher(3)})), (1, 8, 8)
    )
    config = RMIConfig(images=32, steps=1, cka_weight=1.0)
    for taught, same in ((teacher(3), True), (nn.Conv2d(1, 3, 3), False)):
        evaluator = RMIEvaluator(
            space, stripes, config, device="cpu", teacher=nn.Sequential(taught)
        )
        [found] = evaluator.evaluate([space.decode((0,))])
        assert (-found.score < 1e-4) == (found.details["cka"] > 0.9999) == same


def test_training_brings_the_features_closer_to_the_teachers(stripes, small_space):
    architecture = small_space.decode((3,) * 6)
    taught = teacher(3)
    before = copy.deepcopy(taught.state_dict())

    def scored(steps, weight):
        config = RMIConfig(images=48, steps=steps, cka_weight=weight)
        evaluator = RMIEvaluator(small_space, stripes, config, device="cpu", teacher=taught)
        [found] = evaluator.evaluate([architecture])
        loss = weight * 3 * (1 - found.details["cka"])  # although the teacher has two stages
        loss += (1 - weight) * found.details["cross_entropy"]
        assert -found.score == pytest.approx(loss, abs=1e-5)
        return found.details

    first, last, labels = scored(1, 0.8), scored(15, 0.8), scored(15, 0.0)
    assert last["cka"] > first["cka"] + 0.1 and last["cka"] > labels["cka"] + 0.05
    assert last["cross_entropy"] < first["cross_entropy"]
    assert all(torch.equal(before[name], tensor) for name, tensor in taught.state_dict().items())


def test_a_stage_less_does_not_make_a_score_better(stripes):
    def network(choose):
        pool = partial(nn.AdaptiveAvgPool2d, 1)
        two = {"conv": lambda: nn.Sequential(nn.Conv2d(6, 6, 2, 2), pool()), "none": pool}
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1), choose("second", two), nn.Flatten(), nn.Linear(6, 3)
        )

    space = ddpnas.SearchSpace(network, (1, 8, 8))
    config = RMIConfig(images=32, steps=1, cka_weight=1.0)
    evaluator = RMIEvaluator(space, stripes, config, device="cpu", teacher=teacher(3))
    for found in evaluator.evaluate([space.decode((0,)), space.decode((1,))]):
        assert -found.score == pytest.approx(3 * (1 - found.details["cka"]), abs=1e-5)


def test_a_training_that_diverges_scores_nan(stripes, small_space):
    config = RMIConfig(images=32, steps=6, lr=1e20)
    evaluator = RMIEvaluator(small_space, stripes, config, device="cpu", teacher=teacher(3))
    [found] = evaluator.evaluate([small_space.decode((3,) * 6)])
    assert math.isnan(found.score) and found.details["accuracy"] == 0.0


def test_what_is_no_teacher_is_refused(stripes, small_space):
    with pytest.raises(OptionError, match=r"needs a teacher.*--evaluator-options.teacher teacher"):
        create_evaluator("rmi", small_space, stripes, evaluations=1)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(OptionError, match="gives no feature maps"):
        RMIEvaluator(small_space, stripes, QUICK, device="cpu", teacher=flat)
    features = ddpnas.SearchSpace(
        lambda choose: nn.Sequential(nn.Flatten(), choose("a", {"x": lambda: nn.Linear(64, 3)})),
        (1, 8, 8),
    )
    evaluator = RMIEvaluator(features, stripes, QUICK, device="cpu", teacher=teacher(3))
    with pytest.raises(OptionError, match="give no feature maps"):
        next(evaluator.evaluate([{"a": "x"}]))
