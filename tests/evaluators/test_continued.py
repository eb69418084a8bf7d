"""What diverges in a race scores NaN from then on, and leaves a checkpoint that can be read."""

import math

import pytest

from ddpnas.errors import OptionError
from ddpnas.evaluators import ContinuedConfig, ContinuedEvaluator
from ddpnas.training.checkpoint import load_checkpoint, save_checkpoint


def test_a_candidate_that_diverged_is_kept_as_a_mark(small_space, stripes, tmp_path):
    def started():
        config = ContinuedConfig(lr=1e9, batch_size=8)
        return ContinuedEvaluator(small_space, stripes, config, device="cpu")

    one = small_space.decode([3] * len(small_space.decisions))
    (before,) = (wild := started()).evaluate([one])
    assert math.isnan(before.score) and before.details["epochs"] == 1.0
    tensors, plain = wild.state_dict()
    assert not tensors
    save_checkpoint(tmp_path / "checkpoint", tensors, plain)
    resumed = started()
    resumed.load_state_dict(*load_checkpoint(tmp_path / "checkpoint"))
    for evaluator in (wild, resumed):
        (again,) = evaluator.evaluate([one])
        assert math.isnan(again.score)
        assert again.details["epochs"] == 1.0 and again.details["train_images"] == 0.0
        assert math.isnan(evaluator.rescore([one])[0].score)
        with pytest.raises(OptionError, match="the training of this network diverged"):
            evaluator.network(one)


def test_a_batch_that_was_interrupted_goes_on_with_all_of_its_candidates(small_space, stripes):
    def started():
        return ContinuedEvaluator(small_space, stripes, ContinuedConfig(batch_size=8), device="cpu")

    def found(evaluations):
        return [(e.score, e.details["epochs"], e.details["train_images"]) for e in evaluations]

    longer, newer = (small_space.decode([i] * len(small_space.decisions)) for i in (2, 3))
    unbroken = started()
    assert len(found(unbroken.evaluate([longer]))) == 1
    batch = unbroken.evaluate([newer, longer])
    next(batch)
    resumed = started()
    resumed.load_state_dict(*unbroken.state_dict())
    assert found(resumed.evaluate([longer])) == found(batch)
    for asked in ([newer, longer], [longer], [newer]):
        assert found(resumed.evaluate(asked)) == found(unbroken.evaluate(asked))
