"""Choices that run on a part of the channels, and edges with weights."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError, SpaceError
from ddpnas.relaxed import Mixture
from ddpnas.relaxed.partial_channels import PartialChannels, edge_weights, partial_supernet
from ddpnas.relaxed.relaxations import RELAXATIONS
from ddpnas.space import Decision
from ddpnas.strategies import create_strategy

from ..conftest import published_space
from .resuming import whole_and_resumed


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


def test_other_channels_pass_unchanged_up_to_the_shuffle():
    x = torch.randn(3, 8, 4, 4)
    y = PartialChannels(Double(), channels=2, parts=4, stride=1)(x)
    unshuffled = y.view(3, 2, 4, 4, 4).transpose(1, 2).reshape(3, 8, 4, 4)
    assert torch.equal(unshuffled[:, :2], 2 * x[:, :2])
    assert torch.equal(unshuffled[:, 2:], x[:, 2:])
    pooled = PartialChannels(nn.MaxPool2d(2), channels=2, parts=4, stride=2)(x)
    assert torch.equal(pooled, nn.ChannelShuffle(4)(nn.MaxPool2d(2)(x)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nasbench201", {"cells_per_stage": 1}),
        pytest.param("darts", {"cells": 3}, marks=pytest.mark.slow),
    ],
)
def test_convolutions_have_a_part_of_the_parameters_squared(name, options):
    space = ddpnas.create_space(name, channels=8, num_classes=3, input_shape=(1, 16, 16), **options)
    whole, part = space.supernet(seed=0), partial_supernet(space, 4, seed=0)
    dense = [
        [m for m in net.choices[0].options.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
        for net in (whole, part)
    ]
    assert dense[0]
    for one, other in zip(*dense, strict=True):
        assert other.weight.numel() * 16 == one.weight.numel()
    edges = [m for m in part.modules() if isinstance(m, PartialChannels)]
    assert len(edges) == len(whole.choices) == len(part.choices)
    assert {edge.stride for edge in edges} == ({1} if name == "nasbench201" else {1, 2})
    part.set_path(space.sample(np.random.default_rng(0)))
    assert part.train()(torch.randn(4, 1, 16, 16)).shape == (4, 3)


def test_the_weight_of_an_edge_scales_its_output_in_the_context():
    space = ddpnas.create_space("nasbench201", channels=4, cells_per_stage=1)
    edge = next(
        m for m in partial_supernet(space, 2, 0).modules() if isinstance(m, PartialChannels)
    )
    edge.choice.active = 1  # skip_connect
    x = torch.randn(2, 4, 3, 3)
    decision = edge.choice.decision
    names = [[d.name for d in space.decisions]]
    mixture = Mixture(space.decisions, RELAXATIONS["softmax"], nodes=names)
    with edge_weights([edge], mixture.draw(1.0, 0)):
        torch.testing.assert_close(edge(x), nn.ChannelShuffle(2)(x) / 6)
    assert torch.equal(edge(x), nn.ChannelShuffle(2)(x))
    assert decision in mixture.edges()


@pytest.mark.parametrize("draws", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_cells_are_decoded_by_option_times_edge(draws):
    space = published_space("darts", channels=4, cells=3)
    strategy = create_strategy("pcdarts", space)
    assert [len(node) for node in strategy.nodes] == [2, 3, 4, 5] * 2
    rng = np.random.default_rng(0)
    for _ in range(draws):
        strategy = create_strategy("pcdarts", space)
        mixture = Mixture(space.decisions, RELAXATIONS["softmax"], nodes=strategy.nodes)
        with torch.no_grad():
            for logits in mixture.parameters():
                logits.copy_(torch.from_numpy(rng.normal(size=len(logits))))
        alpha = {n: logits.detach().softmax(0).numpy() for n, logits in mixture.logits.items()}
        strength = {
            name: float(weight) * alpha[name][1:].max()  # the first option is "none"
            for name, weight in mixture.edges().items()
        }
        strategy.learn_mixture(mixture.probabilities())
        found = strategy.architecture
        for node in strategy.nodes:
            expected = set(sorted(node, key=lambda name: -strength[name])[:2])
            assert {name for name in node if found[name] != "none"} == expected
            for name in expected:
                assert space[name].index(found[name]) == 1 + alpha[name][1:].argmax()


@pytest.mark.parametrize(
    "options", [{"pruning": True}, {"pruning": "share"}, {"pruning": "threshold"}, {"layers": True}]
)
def test_where_edges_have_weights_nothing_is_pruned(options):
    with pytest.raises(OptionError, match="leave pruning and layers out in this space"):
        create_strategy("pcdarts", published_space("darts", channels=4, cells=3), **options)
    create_strategy("pcdarts", published_space("nasbench201"), **options)


def test_a_weak_edge_loses_however_likely_its_operation_is():
    decisions = [Decision(name, ("none", "conv")) for name in ("weak", "strong")]
    made = Mixture(decisions, RELAXATIONS["softmax"], nodes=[["weak", "strong"]])
    with torch.no_grad():
        made.logits["weak"].copy_(torch.tensor([-200.0, 0.0]))  # as good as no "none"
        made.parameters()[-1].copy_(torch.tensor([-9.0, 0.0]))
    weak, strong = made.probabilities()
    assert weak[1] < 2e-4 and strong[1] > 0.3
    assert [weak.sum(), strong.sum()] == pytest.approx([1.0, 1.0])


def test_the_state_of_a_mixture_holds_the_weights_of_edges():
    decisions = [Decision(name, ("none", "conv")) for name in ("first", "second")]
    made, other = (
        Mixture(decisions, RELAXATIONS["softmax"], seed, nodes=[["first", "second"]])
        for seed in (0, 1)
    )
    with torch.no_grad():
        for logits in made.parameters():
            logits.normal_()
    other.load_state_dict(made.state_dict())
    assert made.edges() == other.edges() and made.edges()["first"] != made.edges()["second"]
    for one, same in zip(made.probabilities(), other.probabilities(), strict=True):
        assert np.array_equal(one, same)


@pytest.mark.slow
def test_weights_of_edges_go_on_after_a_resume(stripes, tmp_path):
    shape = {"num_classes": 3, "input_shape": stripes.input_shape}
    space = ddpnas.create_space("darts", channels=2, cells=3, **shape)
    options = {"epochs": 2, "batch_size": 48, "alpha_lr": 0.5, "parts": 2, "warmup": 0.0}

    def run(out, **more):
        return ddpnas.search(
            space, stripes, "pcdarts", out=out, strategy_options=options, device="cpu", **more
        )

    whole, again = whole_and_resumed(run, tmp_path, stopped=1)
    assert again.distribution.to_dict() == whole.distribution.to_dict()
    assert [r["loss"] for r in again.history] == [r["loss"] for r in whole.history]
    # Equal edges would leave all but a half, a third, ... of the probability to "none".
    first = space.decisions[0]
    assert abs(whole.distribution.theta[first.name][1:].sum() - 7 / 16) > 0.02


def test_a_search_resumes_and_what_has_no_channels_is_refused(stripes, small_space, tmp_path):
    options = {"epochs": 3, "batch_size": 48, "alpha_lr": 0.05, "parts": 2}

    def run(out, **more):
        return ddpnas.search(
            small_space, stripes, "pcdarts", out=out, strategy_options=options, device="cpu", **more
        )

    whole, again = whole_and_resumed(run, tmp_path, stopped=2)
    assert again.distribution.to_dict() == whole.distribution.to_dict()
    found = ddpnas.rescore(
        tmp_path / "whole", [whole.architecture], space=small_space, data=stripes
    )
    assert 0 < found[0].score <= 1
    with pytest.raises(SpaceError, match="space 'toy' cannot run on a part of its channels"):
        ddpnas.search("toy", stripes, "pcdarts", device="cpu")
    with pytest.raises(OptionError, match="2 channels of space .*--space-options.channels 4"):
        ddpnas.search(small_space, stripes, "pcdarts", device="cpu")
