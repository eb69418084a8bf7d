"""A mixture that begins anew in stages, on other networks."""

import itertools

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.relaxed import (
    Draw,
    MixedChoices,
    MixtureEstimate,
    MixtureEvaluator,
    PartialChannels,
)
from ddpnas.relaxed.partial_channels import widen
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies.pdarts import PDARTS

from .resuming import whole_and_resumed


def test_each_stage_has_new_weights_logits_and_momenta(stripes):
    space = ddpnas.create_space("toy", num_classes=3)
    options = {"epochs": 6, "batch_size": 48, "alpha_lr": 0.1}
    strategy = ddpnas.create_strategy("pdarts", space, **options)
    evaluator = MixtureEvaluator(space, stripes, strategy, device="cpu")

    def state():
        return {name: tensor.clone() for name, tensor in evaluator.state_dict()[0].items()}

    starts = [state()]
    while len(strategy.history) < 4:
        batch = strategy.ask()
        [found] = evaluator.evaluate(batch)
        strategy.tell(batch, [found.score])
        if len(strategy.history) % 2 == 0:
            parts = {name.split(".")[0] for name in state()}
            assert {"supernet", "mixture", "sgd", "adam"} <= parts
            evaluator._begin(len(strategy.history))
            starts.append(state())
    for start in starts:
        assert {name.split(".")[0] for name in start} == {"supernet", "mixture"}, "no momenta yet"
        assert max(t.abs().max() for n, t in start.items() if n.startswith("mixture")) < 0.01
    for one, other in itertools.combinations(starts, 2):
        differ = {name for name, tensor in one.items() if not torch.equal(tensor, other[name])}
        assert {name for name in one if name.startswith("mixture")} <= differ
        assert {n for n in one if n.endswith("weight") and one[n].ndim > 1} <= differ


@pytest.mark.slow
def test_each_stage_has_its_own_network(stripes):
    space = ddpnas.create_space(
        "darts", channels=2, cells=3, num_classes=3, input_shape=stripes.input_shape
    )
    options = {"epochs": 6, "batch_size": 96, "cells": (3, 4, 4), "alpha_lr": 0.1}
    strategy = ddpnas.create_strategy("pdarts", space, **options)
    evaluator = MixtureEvaluator(space, stripes, strategy, device="cpu")
    seen = []
    while not strategy.done:
        batch = strategy.ask()
        [found] = evaluator.evaluate(batch)
        seen.append(len(evaluator.supernet.network.cells))
        strategy.tell(batch, [found.score])
    assert seen == [3, 3, 4, 4, 4, 4]
    assert space.check(strategy.architecture) == strategy.architecture


def deep(choose, cells=1):
    """Return a network of equal cells, whose eight options all cost the same."""

    def conv():
        return nn.Conv2d(8, 8, 1)

    options = {f"conv{k}": conv for k in range(8)}
    chosen = [choose("op", options) for _ in range(cells)]
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(nn.Conv2d(1, 8, 1), *chosen, *ends)


def growing(stripes):
    space = ddpnas.SearchSpace(deep, (1, 8, 8))
    options = {"epochs": 6, "batch_size": 48, "cells": (1, 4, 16)}
    strategy = ddpnas.create_strategy("pdarts", space, **options)
    return strategy, MixtureEvaluator(space, stripes, strategy, device="cpu")


def test_memory_is_that_of_the_largest_stage_with_the_options_left_there(stripes, monkeypatch):
    strategy, evaluator = growing(stripes)
    inputs, _ = next(evaluator._scored.eval_batches(8))
    first = evaluator._step.held_bytes(inputs) / len(inputs)
    assert len(evaluator.supernet.choices) == 1, "the first stage has begun"
    # One cell keeps its input and eight outputs at first, 16 cells three outputs each in the end.
    assert evaluator.memory.image == pytest.approx(16 * (1 + 3) / (1 + 8) * first, rel=0.1)
    memory = evaluator.memory
    assert MixtureEstimate.of(evaluator, strategy).memory_bytes == memory.of(48)
    monkeypatch.setattr("ddpnas.relaxed.memory.free_memory", lambda: memory.of(40))
    with pytest.raises(OptionError, match="a step on 48 images needs at least"):
        growing(stripes)


def test_measuring_later_stages_leaves_no_trace(stripes, monkeypatch):
    _, measured = growing(stripes)
    monkeypatch.setattr(PDARTS, "begins", lambda self, epoch: epoch == 0)
    _, alone = growing(stripes)
    assert alone.memory.image < measured.memory.image
    for evaluator in (measured, alone):
        evaluator._train_epoch()
    found, expected = (evaluator.state_dict()[0] for evaluator in (measured, alone))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_step_is_timed_with_as_many_options_as_are_left_in_its_stage(stripes):
    strategy, evaluator = growing(stripes)
    ran = []
    for epoch, cells, left in ((0, 1, 8), (1, 1, 8), (2, 4, 5), (3, 4, 5), (4, 16, 3), (5, 16, 3)):
        if strategy.begins(epoch):
            evaluator._begin(epoch)
            assert len(evaluator.supernet.choices) == cells
            for option in evaluator.supernet.choices[0].options:
                option.register_forward_hook(lambda *_: ran.append(1))
        ran.clear()
        evaluator.time_step(epoch)
        steps, passes = min(3, evaluator.steps), 1 + strategy.learns(epoch)
        assert len(ran) == steps * passes * left


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("darts", {"pruning": True}),
        ("proxyless", {"pruning": "share"}),
        ("pdarts", {}),
        ("drnas", {"stages": 2}),
        ("drnas", {"pruning": True}),
    ],
)
def test_as_many_options_are_left_as_planned(name, options):
    sizes = (8, 5, 2)
    space = DecisionSpace([Decision(f"{n}", tuple("abcdefgh"[:n])) for n in sizes])
    strategy = ddpnas.create_strategy(name, space, epochs=30, **options)
    seen = set()
    for epoch in range(30):
        stage = strategy.stage_of(epoch)
        seen.add(stage)
        left = [int(mask.sum()) for mask in strategy.taking_part]
        assert left == [strategy.options_left(stage, n) for n in sizes]
        assert stage == strategy.stage
        strategy.learn_mixture(strategy.distribution.rows)
        strategy.tell(strategy.ask(), [0.5])
    assert len(seen) > 1


def cells(stripes):
    return ddpnas.create_space(
        "nasbench201", channels=4, cells_per_stage=1, num_classes=3, input_shape=(1, 8, 8)
    )


def test_the_second_stage_of_drnas_carries_widened_weights_logits_and_momenta(stripes):
    space = cells(stripes)
    options = {"epochs": 4, "stages": 2, "batch_size": 48, "alpha_lr": 0.1}
    strategy = ddpnas.create_strategy("drnas", space, **options)
    evaluator = MixtureEvaluator(space, stripes, strategy, device="cpu")
    seen = []
    while not strategy.done:
        batch = strategy.ask()
        before = evaluator.state_dict()
        [found] = evaluator.evaluate(batch)
        edges = [m for m in evaluator.supernet.modules() if isinstance(m, PartialChannels)]
        seen.append((edges[0].channels, int(strategy.distribution.alive[0].sum())))
        strategy.tell(batch, [found.score])
        if len(seen) == 2:
            narrow = {name: t.clone() for name, t in evaluator.state_dict()[0].items()}
            kept = strategy.distribution
            for row, mask in zip(kept.rows, kept.alive, strict=True):
                assert row[mask].min() >= row[~mask].max(), "the likeliest stay"
        if len(seen) == 3:
            assert before[1]["begun"] == 0 and evaluator.state_dict()[1]["begun"] == 2
    assert seen == [(1, 5), (1, 5), (2, 3), (2, 3)] and strategy.stage == 1

    again = ddpnas.create_strategy("drnas", space, **options)
    wider = MixtureEvaluator(space, stripes, again, device="cpu")
    wider.load_state_dict(narrow, {**wider.state_dict()[1], "epochs": 2, "begun": 0})
    wider._begin(2)
    tensors = wider.state_dict()[0]
    assert tensors.keys() == narrow.keys()
    grown = [name for name in narrow if tensors[name].shape != narrow[name].shape]
    assert {name.split(".")[0] for name in grown} == {"supernet", "sgd"}
    for name, tensor in narrow.items():
        assert torch.equal(tensors[name], widen(tensor, tensors[name].shape)), name
    assert any("mixture" in name for name in narrow) and any("adam" in name for name in narrow)


def test_what_contradicts_two_stages_is_refused(stripes):
    space = cells(stripes)
    for options, says in (
        ({"stages": 2, "epochs": 1}, "two stages need two epochs or more, not 1"),
        ({"stages": 2, "pruning": True}, "in two stages prunes between them; leave pruning out"),
    ):
        with pytest.raises(OptionError, match=says):
            ddpnas.create_strategy("drnas", space, **options)


@pytest.mark.parametrize(
    ("name", "stopped"),
    [
        ("pdarts", 1),
        ("pdarts", 2),
        pytest.param("pdarts", 3, marks=pytest.mark.slow),
        pytest.param("pdarts", 5, marks=pytest.mark.slow),
        ("drnas", 1),
        pytest.param("drnas", 2, marks=pytest.mark.slow),
    ],
)
def test_a_search_in_stages_resumes_on_either_side_of_a_new_stage(stripes, tmp_path, name, stopped):
    space = cells(stripes) if name == "drnas" else ddpnas.create_space("toy", num_classes=3)
    options = {"epochs": 6, "batch_size": 48, "alpha_lr": 0.1}
    if name == "drnas":
        options |= {"epochs": 3, "stages": 2, "batch_size": 96}

    def run(out, **more):
        return ddpnas.search(
            space, stripes, name, out=out, strategy_options=options, device="cpu", **more
        )

    whole, again = whole_and_resumed(run, tmp_path, stopped)
    assert again.distribution.to_dict() == whole.distribution.to_dict()
    assert [r["loss"] for r in again.history] == [r["loss"] for r in whole.history]
    [found], [same] = (
        ddpnas.rescore(tmp_path / folder, [whole.architecture], space=space, data=stripes)
        for folder in ("whole", "broken")
    )
    assert found.score == same.score


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
