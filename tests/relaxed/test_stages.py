"""A mixture that begins anew in stages, on other networks."""

import pytest
import torch

import ddpnas
from ddpnas.relaxed import Draw, MixedChoices, MixtureEvaluator


@pytest.mark.slow
def test_each_stage_has_new_weights_and_its_own_network(stripes):
    space = ddpnas.create_space(
        "darts", channels=2, cells=3, num_classes=3, input_shape=stripes.input_shape
    )
    options = {"epochs": 3, "batch_size": 96, "cells": (3, 4, 4), "alpha_lr": 0.1}
    strategy = ddpnas.create_strategy("pdarts", space, **options)
    evaluator = MixtureEvaluator(space, stripes, strategy, device="cpu")
    seen, first = [], []
    while not strategy.done:
        batch = strategy.ask()
        [found] = evaluator.evaluate(batch)
        first.append(next(evaluator.supernet.parameters()).detach().clone())
        seen.append(len(evaluator.supernet.network.cells))
        strategy.tell(batch, [found.score])
    assert seen == [3, 4, 4]
    assert not torch.equal(first[1], first[2])
    assert space.check(strategy.architecture) == strategy.architecture


@pytest.mark.parametrize("stopped", [1, 2])
def test_a_search_in_stages_resumes_on_either_side_of_a_new_stage(stripes, tmp_path, stopped):
    space = ddpnas.create_space("toy", num_classes=3)
    options = {"epochs": 4, "batch_size": 48, "alpha_lr": 0.1}

    def run(out, **more):
        return ddpnas.search(
            space, stripes, "pdarts", out=out, strategy_options=options, device="cpu", **more
        )

    def stop(progress):
        if progress.done == stopped:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", on_progress=stop)
    again = run(tmp_path / "broken", resume=True)
    assert again.distribution.to_dict() == whole.distribution.to_dict()
    assert [r["loss"] for r in again.history] == [r["loss"] for r in whole.history]
    [found] = ddpnas.rescore(tmp_path / "whole", [whole.architecture], space=space, data=stripes)
    assert (
        found.score
        == ddpnas.rescore(tmp_path / "broken", [whole.architecture], space=space, data=stripes)[
            0
        ].score
    )


def test_dropout_falls_on_the_options_named():
    space = ddpnas.create_space("toy", width=64)
    supernet = space.supernet(seed=0)
    mixed = MixedChoices(supernet)
    weights = torch.eye(3)
    draws = {d.name: Draw(weights[0], (0,)) for d in space.decisions}  # skip
    x = torch.randn(2, 1, 8, 8)
    with mixed(draws):
        without = supernet(x)
        mixed.dropout = {"skip": 0.5}
        assert not torch.allclose(supernet(x), without)
        mixed.dropout = {"conv1": 0.5}
        assert torch.equal(supernet(x), without)
