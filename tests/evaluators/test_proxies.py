import math

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator
from ddpnas.evaluators.proxies import ProxyScores, Scale, naswot, synflow


def test_naswot_counts_agreeing_relus():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    images = torch.randn(6, 3)
    with torch.no_grad():
        first = network[0](images)
        second = network[2](first.relu())
    codes = torch.cat([first > 0, second > 0], dim=1).numpy()
    kernel = np.array([[(a == b).sum() for b in codes] for a in codes], dtype=float)
    assert naswot(network, images) == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_synflow_is_the_sum_of_paths_times_the_number_of_layers():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(4, 2, bias=False)
    )
    before = [p.clone() for p in network.parameters()]
    a, b = (network[i].weight.detach().abs().double() for i in (0, 3))
    paths = float((b @ a).sum())  # of ones, every path's product of absolute weights
    assert synflow(network, (3,)) == pytest.approx(np.log(2 * paths))
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters()))


def test_a_network_without_activations_or_flow_has_the_worst_scores_and_no_error():
    images = torch.randn(6, 3)
    assert naswot(nn.Linear(3, 2), images) == -math.inf
    dead = nn.Linear(3, 2)
    nn.init.zeros_(dead.weight), nn.init.zeros_(dead.bias)
    assert synflow(dead, (3,)) == -math.inf


def test_a_scale_is_in_deviations_from_the_median_and_ends_at_three_below():
    scale = Scale()
    values = np.random.default_rng(0).normal(5, 2, 4001)
    scale.learn([{"a": v} for v in values] + [{"a": math.nan}, {"a": -math.inf}])
    assert scale("a", 5) == pytest.approx(0, abs=0.1)
    assert scale("a", 9) == pytest.approx(2, abs=0.1)
    assert scale("a", -100) == scale("a", -math.inf) == scale("a", math.nan) == -3
    again = Scale()
    again.restore(scale.to_dict())
    assert again("a", 7.5) == scale("a", 7.5)


def test_what_does_not_vary_or_is_never_finite_says_nothing():
    scale = Scale()
    scale.learn([{"same": 1.0, "none": math.nan}] * 5)
    assert scale("same", 2.0) == scale("none", math.nan) == scale("none", 1.0) == 0


def test_what_is_not_finite_is_the_worst_also_of_what_does_not_vary():
    scale = Scale()
    scale.learn([{"same": 1.0}] * 5)
    assert scale("same", math.nan) == scale("same", -math.inf) == -3


def test_the_proxies_depend_on_the_architecture_and_the_seed_alone(small_space, stripes):
    path, other = (small_space.sample(np.random.default_rng(i)) for i in range(2))
    proxies = ProxyScores(small_space, stripes, 0)
    torch.manual_seed(5)
    first = proxies.measure(path)
    proxies.measure(other)
    assert proxies.measure(path) == ProxyScores(small_space, stripes, 0).measure(path) == first
    assert proxies.measure(other) != first
    assert ProxyScores(small_space, stripes, 1).measure(path) != first


def test_a_network_that_changes_its_input_leaves_the_next_ones_as_they_were(stripes):
    def network(choose):
        first = choose("first", {"in place": lambda: nn.ReLU(inplace=True), "none": nn.Identity})
        return nn.Sequential(first, nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 3))

    proxies = ProxyScores(ddpnas.SearchSpace(network, (1, 8, 8)), stripes, 0)
    before = proxies.measure(ddpnas.Architecture({"first": "none"}))
    proxies.measure(ddpnas.Architecture({"first": "in place"}))
    assert proxies.measure(ddpnas.Architecture({"first": "none"})) == before


def evaluator(space, data, scale_from, **settings):
    config = SupernetConfig(
        training="fair", warmup_epochs=2, batch_size=16, score="loss", **settings
    )
    return SupernetEvaluator(space, data, 20, config, device="cpu", scale_from=scale_from)


def test_a_weight_of_one_ranks_by_the_proxies_and_of_none_by_the_shared_weights(
    small_space, stripes
):
    rng = np.random.default_rng(0)
    batch = [small_space.sample(rng) for _ in range(15)]
    untrained = list(evaluator(small_space, stripes, 15, proxy_weight=1.0).evaluate(batch))
    scale = Scale()
    scale.learn([e.details for e in untrained])
    for e in untrained:
        parts = [scale(name, e.details[name]) for name in ("naswot", "synflow")]
        assert e.score == pytest.approx(np.mean(parts))
    weighed = list(evaluator(small_space, stripes, 15, proxy_weight=0.5).evaluate(batch))
    plain = list(evaluator(small_space, stripes, 15, proxy_weight=0).evaluate(batch))
    shared = Scale()
    shared.learn([{"loss": e.score} for e in plain])
    for both, of_shared, of_proxies in zip(weighed, plain, untrained, strict=True):
        assert both.details["valid_loss"] == of_shared.details["valid_loss"]
        expected = (shared("loss", of_shared.score) + of_proxies.score) / 2
        assert both.score == pytest.approx(expected)


def test_scores_with_proxies_keep_their_scale_after_an_interruption(small_space, stripes):
    # The scale is taken from more architectures than the batch has.
    rng = np.random.default_rng(0)
    batch = [small_space.sample(rng) for _ in range(9)]
    whole = [e.score for e in evaluator(small_space, stripes, 12, proxy_weight=0.5).evaluate(batch)]
    first = evaluator(small_space, stripes, 12, proxy_weight=0.5)
    given = first.evaluate(batch)
    scores = [next(given).score for _ in range(4)]
    tensors, plain = first.state_dict()
    second = evaluator(small_space, stripes, 12, proxy_weight=0.5)
    second.load_state_dict({k: v.clone() for k, v in tensors.items()}, plain)
    scores += [e.score for e in second.evaluate(batch[4:])]
    assert scores == whole


@pytest.mark.parametrize(
    "settings", [{"proxy_weight": 1.1}, {"proxy_weight": 0.5, "training": "path"}]
)
def test_proxies_out_of_range_or_beside_scores_of_other_weights_are_refused(settings):
    with pytest.raises(OptionError, match="proxy_weight"):
        SupernetConfig(**settings)


def test_networks_on_numbers_of_a_vocabulary_have_no_synflow():
    def network(choose):
        width = 4
        return nn.Sequential(
            nn.Embedding(10, width),
            nn.Flatten(),
            choose("hidden", {"one": lambda: nn.Linear(12, 12), "none": nn.Identity}),
            nn.ReLU(),
            nn.Linear(12, 2),
        )

    inputs = torch.randint(10, (40, 3))
    space = ddpnas.SearchSpace(network, (3,), input_dtype=torch.int64)
    data = ddpnas.data.as_data((inputs, inputs[:, 0] % 2))
    measured = ProxyScores(space, data, 0).measure(space.sample(np.random.default_rng(0)))
    assert math.isnan(measured["synflow"])
    assert not math.isnan(measured["naswot"])
