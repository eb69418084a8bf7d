"""Steps on slices of shared weights: what moves, and by which gradient."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from ddpnas.data import load_data
from ddpnas.errors import OptionError
from ddpnas.evaluators import SupernetConfig, shared_weights
from ddpnas.evaluators.slice_updates import SliceUpdates
from ddpnas.evaluators.supernet import SupernetEvaluator
from ddpnas.space import SearchSpace
from ddpnas.space.sorted_channels import sort_channels


def network(choose, input_shape=(1, 8, 8), num_classes=10):
    a, b = choose.width("a", (2, 4, 8)), choose.width("b", (3, 6))
    return nn.Sequential(
        nn.Conv2d(input_shape[0], a, 3), nn.BatchNorm2d(a, track_running_stats=False), nn.ReLU(),
        nn.Conv2d(a, b, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(b, num_classes),
    )  # fmt: skip


SPACE = SearchSpace(network)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("paths", [("a=2;b=6", "a=4;b=3"), ("a=2;b=3", "a=8;b=6"), ("a=4;b=6",)])
def test_a_step_has_the_gradient_of_all_paths_and_moves_nothing_else(paths, mean):
    """Two steps of SGD are those of an optimizer that knows which weights each path used."""
    torch.manual_seed(0)
    supernet = SPACE.supernet()
    whole = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    momentum = {name: torch.zeros_like(p) for name, p in whole.items()}
    parameters = list(supernet.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
    updates = SliceUpdates(supernet, optimizer, mean=mean)
    x = torch.randn(4, 1, 8, 8)
    for _ in range(2):
        gradients = {name: torch.zeros_like(p) for name, p in whole.items()}
        uses = {name: torch.zeros_like(p) for name, p in whole.items()}
        used = Counter()
        for text in paths:
            architecture = SPACE.parse(text)
            built = SPACE.build(architecture, weights_from=supernet)
            built(x).square().sum().backward()
            for name, p in built.named_parameters():
                part = tuple(slice(n) for n in p.shape)
                gradients[f"network.{name}"][part] += p.grad
                uses[f"network.{name}"][part] += 1
            supernet.set_path(architecture)
            updates.note_path()
            used.update(supernet.path_parameters())
            supernet(x).square().sum().backward()
        updates.begin(updates.gather())
        optimizer.step()
        updates.end()
        for name, p in supernet.named_parameters():
            inside = uses[name] > 0
            gradient = gradients[name] / (uses[name].clamp(min=1) if mean else 1)
            moved = 0.9 * momentum[name] + gradient + 0.01 * whole[name]
            momentum[name] = torch.where(inside, moved, momentum[name])
            expected = torch.where(inside, whole[name] - 0.1 * momentum[name], whole[name])
            assert torch.equal(p[~inside], whole[name][~inside])
            torch.testing.assert_close(p, expected, rtol=1e-4, atol=1e-5)
            whole[name] = p.detach().clone()
        assert optimizer.param_groups[0]["params"] == parameters
        assert set(optimizer.state) <= set(parameters)
        assert all(p.grad is None for p in used if supernet.slices.whole(p) is not p)
        optimizer.zero_grad()


@pytest.mark.parametrize("training", ["fair", "uniform", "path", "sandwich"])
def test_every_training_scores_widths_and_resumes(training):
    """Scores of a space of widths are finite, and a restored evaluator continues exactly."""
    data = load_data("sign-digits-small", limit_train_images=60)
    space = SearchSpace(network, data.input_shape)
    warmup = None if training == "path" else 2
    config = SupernetConfig(training=training, batch_size=20, warmup_epochs=warmup)
    paths = [space.parse("a=2;b=6"), space.parse("a=8;b=3")]
    one = SupernetEvaluator(space, data, 2, config, device="cpu", scale_from=2)
    states = [copy.deepcopy(one.state_dict()) for _ in one.prepare(paths)]
    scores = [e.score for e in one.evaluate(paths)]
    two = SupernetEvaluator(space, data, 2, config, device="cpu", scale_from=2)
    if states:
        two.load_state_dict(*states[0])
    assert [e.score for e in two.evaluate(paths)] == scores
    assert all(abs(score) < 100 for score in scores)


def test_sandwich_trains_the_largest_and_the_smallest():
    """A sandwich step moves every weight of the largest network, and distils from it."""
    data = load_data("sign-digits-small", limit_train_images=60)
    space = SearchSpace(network, data.input_shape)
    config = SupernetConfig(training="sandwich", batch_size=20, warmup_epochs=1)
    evaluator = SupernetEvaluator(space, data, 2, config, device="cpu")
    before = [p.detach().clone() for p in evaluator.supernet.parameters()]
    paths = []
    set_path = evaluator.supernet.set_path
    evaluator.supernet.set_path = lambda path: (paths.append(path), set_path(path))
    for _ in evaluator.prepare([]):
        pass
    after = list(evaluator.supernet.parameters())
    assert all((old != new).all() for old, new in zip(before, after, strict=True))
    steps = [paths[i : i + 4] for i in range(0, len(paths), 4)]
    assert all(step[0] == space.parse("a=8;b=6") for step in steps)
    assert all(step[1] == space.parse("a=2;b=3") for step in steps)
    assert len({path for step in steps for path in step[2:]}) > 1


def test_phases_open_sizes_one_after_another():
    """In the first of three parts the largest network trains alone, then one more word each."""
    data = load_data("sign-digits-small", limit_train_images=60)
    space = SearchSpace(network, data.input_shape)
    config = SupernetConfig(training="sandwich", batch_size=20, warmup_epochs=6, phases=("b", "a"))
    evaluator = SupernetEvaluator(space, data, 2, config, device="cpu")
    paths = []
    set_path = evaluator.supernet.set_path
    evaluator.supernet.set_path = lambda path: (paths.append(path), set_path(path))
    seen = []
    for _ in evaluator.prepare([]):
        seen.append(set(paths))
        paths.clear()
    first, then, last = (seen[2 * i] | seen[2 * i + 1] for i in range(3))
    assert {space.format(path) for path in first} == {"a=8;b=6"}
    assert {path["a"] for path in then} == {"8"} and {"3", "6"} <= {path["b"] for path in then}
    assert {"2", "8"} <= {path["a"] for path in last} and space.parse("a=2;b=3") in last


def test_channels_are_sorted_where_widths_open_and_a_resume_sorts_them_alike(monkeypatch):
    data = load_data("sign-digits-small", limit_train_images=60)
    space = SearchSpace(network, data.input_shape)
    config = SupernetConfig(training="sandwich", batch_size=20, warmup_epochs=6, phases=("b", "a"))

    def make():
        return SupernetEvaluator(space, data, 2, config, device="cpu", scale_from=2)

    calls = []
    monkeypatch.setattr(
        shared_weights, "sort_channels",
        lambda *given: calls.append((given[2], evaluator._weights.epochs)) or sort_channels(*given),
    )  # fmt: skip
    evaluator = make()
    states = [copy.deepcopy(evaluator.state_dict()) for _ in evaluator.prepare([])]
    assert calls == [(["b"], 2), (["a"], 4)]
    whole = evaluator.supernet.state_dict()
    for done in (1, 3):  # right before channels are sorted
        evaluator = make()
        evaluator.load_state_dict(*states[done])
        for _ in evaluator.prepare([]):
            pass
        again = evaluator.supernet.state_dict()
        assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_phases_that_name_nothing_are_refused():
    data = load_data("sign-digits-small", limit_train_images=60)
    space = SearchSpace(network, data.input_shape)
    config = SupernetConfig(training="sandwich", phases=("kernel",))
    with pytest.raises(OptionError, match="no decision about a size.*has 'kernel' in its name"):
        SupernetEvaluator(space, data, 2, config, device="cpu")
    with pytest.raises(OptionError, match="phases belong to training 'sandwich', not 'fair'"):
        SupernetConfig(phases=("kernel",))
