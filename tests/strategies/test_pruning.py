"""Pruning by a share, by a rising bar, and of whole layers."""

import numpy as np
import pytest

import ddpnas
from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_network
from ddpnas.errors import OptionError, RunError
from ddpnas.space import Decision, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies import create_strategy
from ddpnas.strategies.pruning import MovingPruning, prune_share
from ddpnas.testing import StrategyContract

from .test_gradient import contract

TestShare = contract("darts", pruning="share")
TestThreshold = contract("gdas", pruning="threshold", layers=True)
TestPrunode = contract("darts", widths="prunode")


class TestLearned(StrategyContract):
    def make_strategy(self, space, seed):
        return create_strategy(
            "sng", space, seed=seed, evaluations=40, pruning="threshold", layers=True
        )


class TestDdpnasThreshold(StrategyContract):
    def make_strategy(self, space, seed):
        options = {"pruning": "threshold", "layers": True, "evaluations": 40, "draws": 50}
        return create_strategy("ddpnas", space, seed=seed, **options)


class TestDdpnasLayers(StrategyContract):
    def make_strategy(self, space, seed):
        options = {"layers": True, "cycles_per_stage": 2, "draws": 50}
        return create_strategy("ddpnas", space, seed=seed, **options)


def one_decision(k):
    return DecisionSpace([Decision("op", tuple("abcdefghi")[:k])])


@pytest.mark.parametrize(("k", "expected"), [(5, [3, 2, 2]), (9, [6, 4, 3])])
def test_a_strategy_keeps_the_counts_of_da_nas(k, expected):
    strategy = create_strategy(
        "proxyless", one_decision(k), epochs=70, warmup=1 / 7, pruning="share"
    )
    counts = {}
    rng = np.random.default_rng(0)
    while not strategy.done:
        batch = strategy.ask()
        alive = strategy.distribution.alive[0]
        row = rng.dirichlet(np.ones(k)) * alive
        strategy.learn_mixture([row / row.sum()])
        strategy.tell(batch, [0.5])
        counts[len(strategy.history)] = strategy.distribution.max_survivors
    assert [counts[29], counts[30], counts[49], counts[50], counts[69], counts[70]] == [
        k, expected[0], expected[0], expected[1], expected[1], expected[2],
    ]  # fmt: skip


def test_a_share_drops_the_least_likely_and_never_what_is_protected():
    row = np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    found = JointDistribution.uniform(one_decision(5).decisions).with_rows([row])
    rng = np.random.default_rng(0)
    assert prune_share(found, rng, None).survivors == {"op": ("c", "d", "e")}
    assert prune_share(found, rng, [0]).survivors == {"op": ("a", "d", "e")}


def bar(curve, steps=40):
    """Return the survivors after each step of a threshold, for rows that change over time."""
    space = one_decision(len(curve(0)))
    rule, found = MovingPruning(space), JointDistribution.uniform(space.decisions)
    history = []
    for step in range(steps):
        row = np.where(found.alive[0], curve(step), 0.0)
        mass = found.rows[0][found.alive[0]].sum()
        theta = np.where(found.alive[0], row / row.sum() * mass, found.rows[0])
        found = rule(found.with_rows([theta]), (step + 1) / steps)
        history.append(found.survivors["op"])
    return history


def test_the_bar_drops_exactly_what_is_below_it_and_more_and_more():
    row = np.array([0.5, 0.3, 0.15, 0.05])
    history = bar(lambda step: row)
    sizes = [len(survivors) for survivors in history]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 4
    # By hand: the mean of "d" is 0.05 + 0.2 * 0.9^n, and the bar after n steps is n / 320.
    first = next(n for n in range(1, 41) if 0.05 + 0.2 * 0.9**n < n / 320)
    assert sizes[first - 2 : first] == [4, 3] and "d" not in history[first - 1]
    assert history[-1] == ("a", "b")  # 0.6 and 0.4 after "c" went, above a bar of 0.25


def test_the_bar_forgives_what_recovers_and_leaves_one_at_least():
    late = bar(lambda step: np.array([0.05, 0.95]) if step < 8 else np.array([0.9, 0.1]))
    assert late[-1] == ("a",)
    assert bar(lambda step: np.full(9, 1 / 9))[-1] == tuple("abcdefghi")


def test_without_the_bar_everything_survives():
    space = one_decision(3)
    rule = MovingPruning(space, threshold=False)
    found = JointDistribution.uniform(space.decisions).with_rows([np.array([0.98, 0.01, 0.01])])
    for _ in range(50):
        found = rule(found, 1.0)
    assert found.max_survivors == 3


MOBILE = ddpnas.create_space("mobilenet-v2", num_classes=10, input_shape=(3, 32, 32))


def skipping(skips, steps=40, layers=True):
    """Return what survives where some layers of the third stage are likely skips."""
    rule = MovingPruning(MOBILE, threshold=False, layers=layers)
    rows = []
    for d in MOBILE.decisions:
        row = np.full(len(d.options), 1.0)
        if "skip" in d.options:
            row[d.options.index("skip")] = 50.0 if d.name in skips else 0.1
        rows.append(row / row.sum())
    found = JointDistribution.uniform(MOBILE.decisions).with_rows(rows)
    for _ in range(steps):
        found = rule(found, 1.0)
    return {name for name, left in found.survivors.items() if left == ("skip",)}


def test_layers_whose_skip_is_likely_are_removed_and_no_others():
    assert skipping({"block10"}) == {"block10"}
    assert skipping({"block10", "block12"}) == {"block10", "block12"}
    assert skipping({"block10"}, steps=3) == set()  # a moving mean, not a moment
    assert skipping(set()) == skipping({"block10"}, layers=False) == set()


def test_only_layers_that_keep_the_shape_are_removed():
    everything = {d.name for d in MOBILE.decisions}
    shaped = {d.name for d in MOBILE.decisions if "skip" not in d.options}
    assert shaped and skipping(everything) == everything - shaped


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ((0.2, 0.3, 0.5), ("1", "2", "3")),
        ((0.4, 0.35, 0.25), ("1", "2")),  # the third layer, and not the second
        ((0.9, 0.05, 0.05), ("1",)),
        ((0.05, 0.05, 0.9), ("1", "2", "3")),  # a deep network keeps its first layers
    ],
)
def test_the_last_layers_go_once_the_depth_is_likely_smaller(row, left):
    space = DecisionSpace(
        [Decision("s1.depth", ("1", "2", "3")), Decision("s1.kernel", ("1", "3", "5"))]
    )
    rule = MovingPruning(space, threshold=False, layers=True, memory=0.0)
    found = JointDistribution.uniform(space.decisions).with_rows([np.array(row)] * 2)
    survivors = rule(found, 1.0).survivors
    assert survivors == {"s1.depth": left, "s1.kernel": ("1", "3", "5")}


def test_in_the_space_edge_layers_can_be_removed():
    space = ddpnas.create_space("edge", input_shape=(1, 28, 28), limits={"macs": "1M"})
    rule = MovingPruning(space, threshold=False, layers=True)
    rows = [np.geomspace(1, 0.01, len(d.options)) for d in space.decisions]
    found = JointDistribution.uniform(space.decisions).with_rows([r / r.sum() for r in rows])
    for _ in range(40):
        found = rule(found, 1.0)
    pruned = {name for name, left in found.survivors.items() if len(left) == 1}
    assert pruned == {d.name for d in space.decisions if d.name.endswith("depth")}


def test_a_layer_that_the_rule_removes_costs_exactly_what_the_table_says():
    table, rng = count_costs(MOBILE)["macs"], np.random.default_rng(0)
    layers = [d.options[rng.integers(9)] for d in MOBILE.decisions]  # no skip
    whole = dict(zip((d.name for d in MOBILE.decisions), layers, strict=True))
    whole = MOBILE.check({**whole, "block10": whole["block12"], "block11": whole["block12"]})
    rows = [np.full(len(d.options), 1 / len(d.options)) for d in MOBILE.decisions]
    at = [d.name for d in MOBILE.decisions].index("block12")
    rows[at] = np.where(np.array(MOBILE.decisions[at].options) == "skip", 0.91, 0.01)
    rule = MovingPruning(MOBILE, threshold=False, layers=True, memory=0.0)
    pruned = rule(JointDistribution.uniform(MOBILE.decisions).with_rows(rows), 1.0)
    decided = {name: left[0] for name, left in pruned.survivors.items() if len(left) == 1}
    less = MOBILE.check({**whole, **decided})
    counted = [
        count_network(MOBILE.build(one), MOBILE.input_shape)["macs"] for one in (whole, less)
    ]
    assert counted[0] - counted[1] == table.cost(whole) - table.cost(less) > 0
    assert MOBILE.canonical({**whole, "block10": "skip"}) == MOBILE.canonical(less)


def test_pruning_has_to_be_one_of_the_rules():
    with pytest.raises(OptionError, match="pruning"):
        create_strategy("darts", one_decision(3), pruning="shares")


BLOCKS = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "wide", "skip")) for i in range(4)])


def searched(best, **options):
    """Return a search by DDPNAS for these options, and the survivors after every batch."""
    strategy = create_strategy("ddpnas", BLOCKS, draws=100, **options)
    survivors = [strategy.distribution.survivors]
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, [0.2 * sum(a[n] == o for n, o in best.items()) for a in batch])
        survivors.append(strategy.distribution.survivors)
    return strategy, survivors


@pytest.mark.parametrize("options", [{"cycles_per_stage": 4}, {"evaluations": 100}])
def test_ddpnas_removes_layers_whose_skip_is_best_and_no_others(options):
    best = {"block0": "conv", "block1": "skip", "block2": "wide", "block3": "skip"}
    strategy, survivors = searched(best, layers=True, **options)
    removed = {n for n, left in survivors[-1].items() if left == ("skip",)}
    assert removed == {"block1", "block3"}
    at = next(i for i, left in enumerate(survivors) if left["block1"] == ("skip",))
    assert len(survivors[at]["block0"]) > 1, "the layer went before the others were decided"
    assert dict(strategy.architecture) == best
    _, free = searched(best, **options)
    assert len(free[at]["block1"]) > 1


def test_ddpnas_drops_what_is_below_a_rising_bar():
    best = {"block0": "conv", "block1": "pool", "block2": "wide", "block3": "conv"}
    strategy, survivors = searched(best, pruning="threshold", evaluations=100)
    sizes = [sum(map(len, left.values())) for left in survivors]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 16 > sizes[-1] >= 4
    assert all(option in survivors[-1][name] for name, option in best.items())
    assert strategy.risk < 1 and strategy.stage > 0
    _, free = searched(best, evaluations=100)
    assert sum(map(len, free[-1].values())) == 16
    for options in ({}, {"evaluations": 100, "max_risk": 0.1}):
        with pytest.raises(OptionError, match="takes the place of the schedule and of max_risk"):
            create_strategy("ddpnas", BLOCKS, pruning="threshold", **options)


def test_the_state_of_moving_means_has_to_fit():
    state = create_strategy("sng", BLOCKS, pruning="threshold").state_dict()
    for broken in (state["means"][:2], [[0.5, 0.5]] * 4):
        fresh = create_strategy("sng", BLOCKS, pruning="threshold")
        with pytest.raises(RunError, match="cannot use the state of the strategy: means"):
            fresh.load_state_dict({**state, "means": broken})
