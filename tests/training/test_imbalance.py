"""Classes of unequal size: weights of classes, macro-F1, and what the best epoch is chosen by."""

import math

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.evaluators.continued import ContinuedConfig, ContinuedEvaluator
from ddpnas.training.metrics import balanced_weights, is_at_chance
from ddpnas.training.results import EvaluationResult
from ddpnas.training.steps import TrainStep


@pytest.fixture(scope="module")
def rare():
    """Return two overlapping classes, of which the second has a tenth of the items."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(1000) % 10 == 0).long()
    inputs = torch.randn(1000, 2, generator=generator) + 2.0 * labels[:, None]
    return ddpnas.make_data((inputs, labels))


def trained(data, **changes):
    torch.manual_seed(0)
    recipe = Recipe(epochs=15, lr=0.1, ema=0, **changes)
    return ddpnas.train(nn.Linear(2, 2), data, recipe, device="cpu")


def test_balanced_weights_find_more_of_a_rare_class(rare):
    plain, balanced = trained(rare), trained(rare, class_weights="balanced")
    assert balanced.evaluation.per_class[1] > plain.evaluation.per_class[1] + 0.1
    assert sum(balanced.evaluation.per_class) > sum(plain.evaluation.per_class)
    assert balanced.evaluation.is_imbalanced and balanced.recipe.class_weights == "balanced"


def test_the_best_epoch_is_the_one_with_the_best_macro_f1(rare):
    result = trained(rare, class_weights="balanced", keep_best=True, metric="macro-f1")
    best = max(record["valid_macro_f1"] for record in result.history)
    assert result.evaluation.macro_f1 == best
    assert any(record["valid_accuracy"] != record["valid_macro_f1"] for record in result.history)


def test_the_weighted_loss_of_a_batch_is_the_mean_of_its_halves():
    weights = balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    inputs, labels = torch.randn(8, 3), torch.tensor([0, 0, 0, 0, 0, 1, 1, 0])
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    parameters = list(model.parameters())
    step = TrainStep(model, optimizer, parameters, 0.0, 0.1, class_weights=weights)
    halves = [step(inputs[part], labels[part]) for part in (slice(4), slice(4, 8))]
    assert torch.allclose(step(inputs, labels), sum(halves) / 2)


def test_chance_level_counts_classes_alike_where_the_loss_does():
    always_first = [[90, 0], [10, 0]]
    assert is_at_chance(always_first, loss=math.log(2), balanced=True)
    finds_both = [[60, 30], [3, 7]]  # below the share of the first class, and not by chance
    assert not is_at_chance(finds_both, loss=0.68, balanced=True)
    assert is_at_chance(finds_both, loss=0.68)


def test_classes_are_of_unequal_size_from_a_factor_of_two_on():
    assert EvaluationResult("d", "test", 31, [[21, 0], [0, 10]]).is_imbalanced
    assert not EvaluationResult("d", "test", 30, [[20, 0], [0, 10]]).is_imbalanced


def test_candidates_of_a_race_are_scored_by_macro_f1(stripes):
    space = ddpnas.create_space("toy", num_classes=3, input_shape=(1, 8, 8))
    config = ContinuedConfig(metric="macro-f1", class_weights="balanced")
    evaluator = ContinuedEvaluator(space, stripes, config, device="cpu")
    [found] = evaluator.evaluate([space.decode([0] * len(space.decisions))])
    assert found.score == found.details["macro_f1"] and 0 <= found.details["accuracy"] <= 1
    assert evaluator.identity()["metric"] == "macro-f1"
