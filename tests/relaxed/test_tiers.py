"""Prunode, the rising bar and layers in a mixture that trains: cost, what is found, and resume."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.cli._presets import PRESETS
from ddpnas.costs.count import count_costs
from ddpnas.data import SieveConfig
from ddpnas.errors import OptionError, RunError
from ddpnas.relaxed import MixtureEvaluator
from ddpnas.runs.config import RunConfig
from ddpnas.space import Decision, DecisionSpace


def data(n=120, classes=2):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    inputs = torch.randn(n, 8, generator=generator)
    inputs[:, 0] += 2.0 * labels
    return ddpnas.make_data((inputs, labels))


def space(values):
    def network(choose):
        width = choose.width("hidden", values)
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))

    return ddpnas.SearchSpace(network, (8,))


def made(values, **options):
    searched = space(values)
    options = {"epochs": 12, "batch_size": 24, "widths": "prunode", **options}
    strategy = ddpnas.create_strategy("darts", searched, **options)
    return strategy, MixtureEvaluator(searched, data(), strategy, device="cpu")


def run(strategy, evaluator, most=10**6):
    while not strategy.done and len(strategy.history) < most:
        batch = strategy.ask()
        strategy.tell(batch, [e.score for e in evaluator.evaluate(batch)])


def test_one_layer_runs_whatever_the_number_of_values():
    for values in ((8, 64), tuple(range(2, 65))):
        strategy, evaluator = made(values)
        calls = []
        evaluator.supernet.network[0].register_forward_hook(
            lambda module, args, output, calls=calls: calls.append(output.shape[1])
        )
        evaluator._train_epoch()
        # A pass for the logits and one for the weights in each of four steps, at one width.
        assert calls == [64] * 8
        assert int(sum(mask.sum() for mask in strategy.taking_part)) == 2


def test_memory_does_not_depend_on_the_number_of_values():
    inputs, held = torch.randn(2, 8), {}
    for values in ((256, 512, 768, 1024), tuple(range(16, 1025, 16))):
        _, evaluator = made(values)
        held[len(values)] = evaluator._step.held_bytes(inputs)
    assert held[4] <= held[64] < 1.05 * held[4]


@pytest.mark.parametrize(("cost", "expected"), [(None, 64), (20.0, 2)])
def test_a_width_is_found_by_cost_or_by_what_it_is_worth(cost, expected):
    """Where only the cost speaks, the smallest is found; where a planted loss does, the largest."""
    values = tuple(range(2, 65, 2))
    searched = space(values)
    options = {"epochs": 24, "batch_size": 24, "widths": "prunode", "alpha_lr": 0.1, "warmup": 0.0}
    if cost is not None:
        options |= {"cost": "macs", "cost_form": "penalty", "cost_weight": cost}
    strategy = ddpnas.create_strategy("proxyless", searched, **options)
    evaluator = MixtureEvaluator(searched, data(), strategy, device="cpu")
    if cost is None:
        table = count_costs(searched)["macs"]
        evaluator._step._penalty = _Reward(searched, table)
    run(strategy, evaluator)
    assert abs(int(strategy.architecture["hidden"]) - expected) <= 2
    assert strategy.distribution.max_survivors <= 2


class _Reward:
    """Adds a loss that falls with the width."""

    def __init__(self, searched, table):
        from ddpnas.relaxed import ExpectedCost

        self.expected, self.most = ExpectedCost(table, searched), 64 * 10.0

    def __call__(self, loss, weights):
        return loss - 20.0 * self.expected(weights) / self.most


def test_without_prunode_all_values_take_part():
    strategy, _ = made((2, 4, 8, 16), widths="mixed")
    assert [int(mask.sum()) for mask in strategy.taking_part] == [4]


def test_a_prunode_search_interrupted_in_any_epoch_goes_on(tmp_path):
    def fresh():
        return made(tuple(range(2, 34, 2)), pruning="threshold", layers=True, alpha_lr=0.1)

    strategy, evaluator = fresh()
    run(strategy, evaluator)
    expected = strategy.state_dict()
    strategy, evaluator = fresh()
    for stop in range(1, 12):
        run(strategy, evaluator, stop)
        tensors, plain = evaluator.state_dict()
        kept = {name: tensor.clone() for name, tensor in tensors.items()}
        saved = json.loads(json.dumps([strategy.state_dict(), plain]))
        strategy, evaluator = fresh()
        strategy.load_state_dict(saved[0])
        evaluator.load_state_dict(kept, saved[1])
    run(strategy, evaluator)
    assert json.loads(json.dumps(strategy.state_dict())) == json.loads(json.dumps(expected))


def test_a_new_pair_of_widths_starts_without_the_moments_of_the_last_one():
    strategy, evaluator = made(tuple(range(2, 34, 2)), alpha_lr=0.1)
    logits = evaluator._mixture.logits["hidden"]
    pair, steps, moved = set(), 0, 0
    while not strategy.done:
        before, pair = pair, set(np.flatnonzero(strategy.taking_part[0]).tolist())
        run(strategy, evaluator, len(strategy.history) + 1)
        entered = bool(pair - before)
        steps, moved = 4 + steps * (not entered), moved + entered
        assert evaluator._adam.state[logits]["step"] == steps
    assert moved > 3


def test_widths_that_are_ruled_out_count_as_pruned():
    strategy, evaluator = made(tuple(range(2, 34, 2)), alpha_lr=0.1)
    left, stages = [], []
    while not strategy.done:
        run(strategy, evaluator, len(strategy.history) + 1)
        left.append(strategy.distribution.max_survivors)
        stages.append(strategy.stage)
    assert left == sorted(left, reverse=True) and left[-1] < left[0]
    fewer = [b < a for a, b in zip([16, *left], left, strict=False)]
    assert [b - a for a, b in zip([0, *stages], stages, strict=False)] == fewer


def test_a_measured_table_enters_as_expected_cost(tmp_path):
    searched = space((2, 4, 8, 16))
    path = tmp_path / "latency.json"
    count_costs(searched)["macs"].save(path)
    found = []
    for cost in ("macs", str(path)):
        strategy = ddpnas.create_strategy("proxyless", searched, epochs=2, cost=cost)
        evaluator = MixtureEvaluator(searched, data(), strategy, device="cpu")
        run(strategy, evaluator)
        found.append(strategy.distribution.to_dict())
    assert found[0] == found[1]
    with pytest.raises(OptionError, match=r"\.json file of a measured table"):
        ddpnas.create_strategy("proxyless", searched, epochs=2, cost="latency")


def test_a_run_does_not_go_on_with_an_edited_table_of_costs(tmp_path):
    searched, path = space((2, 4, 8, 16)), tmp_path / "latency.json"
    table = count_costs(searched)["macs"]

    def search(**more):
        options = {"epochs": 3, "batch_size": 24, "cost": str(path)}
        return ddpnas.search(
            searched, data(), "proxyless", strategy_options=options, device="cpu",
            out=tmp_path / "run", **more,
        )  # fmt: skip

    def stop(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    table.save(path)
    with pytest.raises(KeyboardInterrupt):
        search(on_progress=stop)
    pairs = next(iter(table.terms))
    dataclasses.replace(table, terms={**table.terms, pairs: 1e6}).save(path)
    with pytest.raises(RunError, match='began with: evaluator_options.cost_table was ".*" and is'):
        search(resume=True)
    table.save(path)
    assert len(search(resume=True).history) == 3


@pytest.mark.parametrize("epochs", [4, 7, 14, 20, 33, 70])
def test_stages_of_da_nas_prune_when_classes_enter(epochs):
    options = PRESETS["da-nas"].options
    searched = DecisionSpace([Decision("op", tuple("abcdefghij"))])
    given = {**options["strategy_options"], "epochs": epochs}
    strategy = ddpnas.create_strategy(options["strategy"], searched, **given)
    config = SieveConfig(options["sieve"], options["sieve_options"])
    sieve = config.create(torch.arange(100) % 10, epochs)
    seen = []
    for epoch in range(epochs):
        part = sieve.share(epoch), strategy.distribution.max_survivors, strategy.learns(epoch)
        if part not in seen:
            seen.append(part)
        strategy.learn_mixture(strategy.distribution.rows)
        strategy.tell(strategy.ask(), [0.5])
    assert seen == [(1.0, 10, False), (0.3, 10, True), (0.6, 6, True), (1.0, 4, True)]
    assert strategy.distribution.max_survivors == 3


@pytest.mark.parametrize("name", ["da-nas", "tiered"])
def test_presets_search_from_end_to_end(name):
    def network(choose):
        width = choose.width("hidden", (2, 4, 8))
        linear = lambda: nn.Linear(width, width)  # noqa: E731
        relu = lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU())  # noqa: E731
        options = {"linear": linear, "relu": relu, "skip": nn.Identity}
        return nn.Sequential(nn.Linear(8, width), choose("block", options), nn.Linear(width, 4))

    config = RunConfig(**PRESETS[name].options)
    result = ddpnas.search(
        ddpnas.SearchSpace(network, (8,)), data(160, 4), config.strategy,
        strategy_options={
            **config.strategy_options, "epochs": 14, "batch_size": 16, "alpha_lr": 0.3,
        },
        evaluator=config.evaluator, sieve=config.sieve, sieve_options=config.sieve_options,
        device="cpu",
    )  # fmt: skip
    assert len(result.history) == 14
    assert result.distribution.max_survivors < 3
    if name == "da-nas":
        images = [record["train_images"] for record in result.history]
        # Two epochs for the weights alone, then two, three and four of the four classes.
        assert images[:2] == [128, 128] and images[2] < images[6] < images[-1] == 256
        assert [record.get("classes") for record in result.history[::4]] == [None, 2, 3, None]
