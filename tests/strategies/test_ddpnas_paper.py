"""DDPNAS as published against what defines it: exact budgets, credit, sign, exact resume."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import Rule, create_strategy
from ddpnas.errors import OptionError
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies import DDPNASPaper


def make_space(lengths):
    return DecisionSpace([Decision(f"d{i}", tuple("abcdefgh"[:k])) for i, k in enumerate(lengths)])


def separable(space, seed, noise=0.005, sign=1.0):
    """Return (effects, score): accuracy as a sum of effects of the choices, and noise."""
    rng = np.random.default_rng(seed)
    effects = [rng.normal(0, 0.02, len(d.options)) for d in space.decisions]

    def score(architecture):
        total = sum(e[i] for e, i in zip(effects, space.encode(architecture)))
        return 0.6 + sign * total / len(effects) ** 0.5 + rng.normal(0, noise)

    return effects, score


def run(strategy, score):
    asked = 0
    while not strategy.done:
        batch = strategy.ask()
        asked += len(batch)
        strategy.tell(batch, [score(a) for a in batch])
    return asked


def mean_rank(space, effects, architecture):
    """Return how many options are better than the chosen one, averaged over decisions."""
    chosen = zip(effects, space.encode(architecture))
    return float(np.mean([(e > e[i]).sum() for e, i in chosen]))


@pytest.mark.parametrize(
    ("options", "cycles", "keep", "epochs"),
    [(8, 3, 1, 105), (5, 3, 1, 42), (7, 3, 1, 81), (8, 3, 2, 99), (5, 3, 2, 36), (7, 3, 2, 75)]
    + [(4, 1, 1, 9), (2, 5, 1, 10)],
)
@pytest.mark.parametrize("rule", ["momentum", "decay"])
def test_a_search_costs_exactly_the_published_number_of_epochs(options, cycles, keep, epochs, rule):
    space = make_space([options] * 6)
    strategy = create_strategy("ddpnas-paper", space, rule=rule, cycles_per_stage=cycles, keep=keep)
    assert strategy.evaluations == epochs
    assert run(strategy, lambda a: 0.5) == epochs
    assert all(len(s) == keep for s in strategy.distribution.survivors.values())


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
)
def test_ragged_spaces_end_with_what_is_kept_in_the_announced_number(lengths, cycles, keep, seed):
    space = make_space(lengths)
    strategy = create_strategy("ddpnas-paper", space, seed, cycles_per_stage=cycles, keep=keep)
    _, score = separable(space, seed)
    assert run(strategy, score) == strategy.evaluations
    for decision in space.decisions:
        survivors = strategy.distribution.survivors[decision.name]
        assert len(survivors) == min(keep, len(decision.options))
        assert strategy.architecture[decision.name] in survivors


def test_pruning_happens_after_every_t_cycles_and_pruned_options_are_never_asked_again():
    space = make_space([5, 5])
    strategy = create_strategy("ddpnas-paper", space, cycles_per_stage=2)
    _, score = separable(space, 0)
    sizes = []
    while not strategy.done:
        survivors = strategy.distribution.survivors
        batch = strategy.ask()
        sizes.append(len(batch))
        for architecture in batch:
            assert all(architecture[name] in survivors[name] for name in survivors)
        strategy.tell(batch, [score(a) for a in batch])
    assert sizes == [5, 5, 4, 4, 3, 3, 2, 2]


@pytest.mark.parametrize("rule", ["momentum", "decay"])
@pytest.mark.parametrize(("d", "k"), [(6, 5), (28, 8)])
def test_the_survivor_is_far_better_than_random_and_inverted_scores_give_far_worse(rule, d, k):
    ranks = {1.0: [], -1.0: []}
    for seed in range(12):
        for sign in ranks:
            space = make_space([k] * d)
            effects, score = separable(space, seed, sign=sign)
            strategy = create_strategy("ddpnas-paper", space, seed, rule=rule)
            run(strategy, score)
            ranks[sign].append(mean_rank(space, effects, strategy.architecture))
    random = (k - 1) / 2
    assert np.mean(ranks[1.0]) < 0.75 * random
    assert np.mean(ranks[-1.0]) > 1.25 * random


def test_the_score_is_credited_to_the_choices_of_the_architecture_that_has_it():
    space = make_space([3, 3])
    strategy = create_strategy("ddpnas-paper", space, cycles_per_stage=1)
    batch = strategy.ask()
    lucky = batch[1]
    strategy.tell(batch, [0.9 if a == lucky else 0.1 for a in batch])
    for name, theta in strategy.distribution.theta.items():
        assert "abc"[int(np.argmax(theta))] == lucky[name]


def test_update_rules_are_those_of_the_formulae():
    space = make_space([2])
    scores = {"a": 0.62, "b": 0.60}
    estimate = np.exp([2.0, 0.0]) / np.exp([2.0, 0.0]).sum()  # 2 points at temperature 0.01
    for rule, expected in (
        ("decay", (estimate + 0.5 * 0.5) / 1.5),
        ("momentum", (0.5 + 0.2 * estimate) / 1.2),
    ):
        strategy = create_strategy("ddpnas-paper", space, rule=rule, cycles_per_stage=2)
        for _ in range(2):
            batch = strategy.ask()
            strategy.tell(batch, [scores[a["d0"]] for a in batch])
        assert strategy.distribution.theta["d0"] == pytest.approx(expected)
        assert strategy.distribution.survivors["d0"] == ("a",)


@pytest.mark.parametrize("rule", ["decay", "momentum"])
def test_the_estimate_is_the_mean_of_the_softmaxes_of_cycles_whose_scores_differ(rule):
    cycles = [
        {"a": 0.62, "b": 0.60, "c": 0.61},
        {"a": 0.40, "b": 0.45, "c": 0.43},  # trained less, so that all are worse
        {"a": 0.70, "b": 0.70, "c": 0.69},
    ]
    strategy = create_strategy("ddpnas-paper", make_space([3]), rule=rule, cycles_per_stage=3)
    estimate = [0.0, 0.0, 0.0]
    for scores in cycles:
        batch = strategy.ask()
        strategy.tell(batch, [scores[a["d0"]] for a in batch])
        weights = [math.exp(100 * scores[option]) for option in "abc"]
        for option, weight in enumerate(weights):
            estimate[option] += weight / sum(weights) / 3
    start = 0.5 / 3 if rule == "decay" else 1 / 3
    share = 1.0 if rule == "decay" else 0.2
    learned = [start + share * e for e in estimate]
    expected = [x / sum(learned) for x in learned]
    assert strategy.distribution.theta["d0"] == pytest.approx(expected)


def test_momentum_carries_over_from_stage_to_stage_and_pruned_options_keep_mass():
    space = make_space([3])
    strategy = create_strategy("ddpnas-paper", space, cycles_per_stage=1, momentum=0.8)
    scores = {"a": 0.62, "b": 0.61, "c": 0.60}
    theta, velocity = np.full(3, 1 / 3), np.zeros(3)
    alive = np.array([True, True, True])
    for survivors in (3, 2):
        batch = strategy.ask()
        assert len(batch) == survivors
        strategy.tell(batch, [scores[a["d0"]] for a in batch])
        logits = np.where(alive, [2.0, 1.0, 0.0], -np.inf)
        velocity = 0.8 * velocity + 0.2 * np.exp(logits) / np.exp(logits).sum()
        theta = (theta + velocity) / (theta + velocity).sum()
        alive[survivors - 1] = False
    assert strategy.distribution.theta["d0"] == pytest.approx(theta)
    assert strategy.distribution.theta["d0"][2] > 0.1


def test_nan_scores_count_as_the_worst_of_their_cycle():
    space = make_space([3])
    strategy = create_strategy("ddpnas-paper", space, cycles_per_stage=1)
    batch = strategy.ask()
    strategy.tell(batch, [{"a": math.nan, "b": 0.5, "c": 0.7}[x["d0"]] for x in batch])
    assert len(strategy.failed) == 1
    theta = strategy.distribution.theta["d0"]
    assert theta[0] == pytest.approx(theta[1]) and theta[2] > theta[0]


@pytest.mark.parametrize(
    "options",
    [{"rule": "x"}, {"keep": 0}, {"cycles_per_stage": 0}, {"temperature": 0}, {"momentum": 1}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        create_strategy("ddpnas-paper", make_space([3]), **options)


OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
CELL = DecisionSpace([Decision(f"e{i}", OPERATIONS) for i in range(3)])


def by_index(space):
    return lambda architecture: 0.5 + 0.02 * sum(space.encode(architecture))


def test_the_conv_rule_keeps_a_convolution_and_another_option():
    strategy = DDPNASPaper(CELL, keep_rule="conv")
    assert strategy.evaluations == 36  # T (K (K + 1) / 2 - 3)
    assert run(strategy, by_index(CELL)) == 36
    for options in strategy.distribution.survivors.values():
        assert sorted("conv" in option for option in options) == [False, True]


def test_the_conv_rule_ends_where_a_decision_has_no_convolution():
    space = DecisionSpace([*CELL.decisions, Decision("f", ("a", "b", "c"))])
    strategy = DDPNASPaper(space, keep_rule="conv")
    total = strategy.evaluations
    assert run(strategy, by_index(space)) == total == strategy.evaluations
    assert len(strategy.distribution.survivors["f"]) == 1
    with pytest.raises(OptionError, match="keep_rule"):
        DDPNASPaper(CELL, keep_rule="pool")


def theta_by_hand(options, batch, scores, temperature=0.01):
    """Return the softmax of the mean scores of a decision's options, NaN where none occurs."""
    means = [np.mean([s for a, s in zip(batch, scores) if a["d0"] == o]) for o in options]
    weights = np.exp((np.array(means) - max(means)) / temperature)
    return weights / weights.sum()


def learned(space, scores_of):
    """Return (theta of one stage of one cycle without memory, the batch, its scores)."""
    strategy = DDPNASPaper(space, rule="decay", decay=0.0, cycles_per_stage=1)
    batch = strategy.ask()
    scores = scores_of(len(batch))
    strategy.tell(batch, scores)
    return strategy, batch, scores


def test_an_option_that_occurs_twice_in_a_cycle_has_the_mean_of_its_scores():
    strategy, batch, scores = learned(
        make_space([2, 5]), lambda n: [0.6 + 0.01 * i for i in range(n)]
    )
    assert strategy.distribution.theta["d0"] == pytest.approx(theta_by_hand("ab", batch, scores))


def test_percentages_do_not_overflow():
    strategy, batch, scores = learned(make_space([3]), lambda n: [99.0, 98.99, 98.98][:n])
    assert strategy.distribution.theta["d0"] == pytest.approx(theta_by_hand("abc", batch, scores))


def test_what_the_rules_never_allow_gets_no_probability_and_is_pruned_first():
    space = make_space([3, 2])
    space = DecisionSpace(space.decisions, [Rule({("d0", "b"): 1}, "not b", upper=0)])
    strategy, _, _ = learned(space, lambda n: [0.5] * n)
    assert strategy.distribution.theta["d0"].tolist() == pytest.approx([0.5, 0.0, 0.5])
    assert strategy.distribution.survivors["d0"] == ("a", "c")
