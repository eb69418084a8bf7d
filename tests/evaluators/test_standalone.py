import dataclasses

import numpy as np
import torch

from ddpnas import create_strategy
from ddpnas.evaluators import StandaloneEvaluator

GOOD = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
CUT_OFF = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def test_a_score_does_not_depend_on_what_was_scored_before(small_space, stripes):
    architectures = [small_space.parse(text) for text in (GOOD, CUT_OFF)]
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    evaluator = StandaloneEvaluator(small_space, stripes, 3, device="cpu")
    forth = [e.score for e in evaluator.evaluate(architectures)]
    back = [e.score for e in evaluator.evaluate(architectures[::-1])]
    assert forth == back[::-1]
    assert torch.equal(torch.rand(2), expected)


def test_training_tells_a_network_from_one_that_is_cut_off(small_space, stripes):
    evaluator = StandaloneEvaluator(small_space, stripes, 12, device="cpu")
    architectures = [small_space.parse(text) for text in (CUT_OFF, GOOD)]
    cut_off, good = evaluator.evaluate(architectures)
    assert good.score > cut_off.score + 0.2
    assert good.score * len(stripes.valid) == round(good.score * len(stripes.valid))


def test_test_images_are_not_used(small_space, stripes):
    spoiled = dataclasses.replace(stripes, test=stripes.train)
    one, other = (
        next(StandaloneEvaluator(small_space, data, 1, device="cpu").evaluate(
            [small_space.parse(GOOD)])).score
        for data in (stripes, spoiled)
    )  # fmt: skip
    assert one == other


def test_it_serves_any_strategy(small_space, stripes):
    strategy = create_strategy("random", small_space, evaluations=3)
    evaluator = StandaloneEvaluator(small_space, stripes, 1, device="cpu")
    while not strategy.done:
        batch = strategy.ask()
        assert list(evaluator.prepare(batch)) == []
        strategy.tell(batch, [e.score for e in evaluator.evaluate(batch)])
    assert np.isfinite(strategy.scores).all() and evaluator.state_dict() == ({}, {})
