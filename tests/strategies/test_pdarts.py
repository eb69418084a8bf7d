"""The stages of P-DARTS, its dropout, and the limit on skip connections."""

import itertools
import math

import numpy as np
import pytest

from ddpnas.errors import OptionError
from ddpnas.space import Decision, DecisionSpace, Rule
from ddpnas.strategies import create_strategy

from ..conftest import published_space


def test_stages_take_8_5_and_3_options_and_begin_anew():
    space = published_space("darts", channels=4, cells=3)
    strategy = create_strategy("pdarts", space, epochs=75)
    rng, taken = np.random.default_rng(0), []
    for epoch in range(75):
        alive = strategy.distribution.alive
        taken.append({int(mask.sum()) for mask in alive})
        assert strategy.space_options(epoch) == {"cells": (5, 11, 17)[epoch // 25]}
        assert strategy.begins(epoch) == (epoch % 25 == 0)
        assert strategy.learns(epoch) == (epoch % 25 >= 10)
        assert strategy.progress(epoch) == epoch % 25 / 25
        rows = [rng.dirichlet(np.ones(8)) * mask for mask in alive]
        strategy.learn_mixture([row / row.sum() for row in rows])
        best = strategy.distribution
        strategy.tell(strategy.ask(), [0.5])
        if epoch in (24, 49):
            for row, before, mask in zip(
                best.rows, best.alive, strategy.distribution.alive, strict=True
            ):
                assert row[mask].min() >= row[before & ~mask].max(), "the likeliest stay"
    assert taken == [{8}] * 25 + [{5}] * 25 + [{3}] * 25
    assert strategy.done and strategy.stage == 2


def test_stages_end_on_time_where_layers_are_removed_too():
    names = ("conv", "pool", "wide", "long", "deep", "skip")
    space = DecisionSpace([Decision("a", names), Decision("b", names)])
    strategy, left = create_strategy("pdarts", space, epochs=30, layers=True), []
    row = np.array([0.02, 0.01, 0.01, 0.005, 0.005, 0.95])
    while not strategy.done:
        rows = [row, row[::-1]]  # "b" is a convolution
        taken = [r * mask for r, mask in zip(rows, strategy.taking_part, strict=True)]
        strategy.learn_mixture([r / r.sum() for r in taken])
        strategy.tell(strategy.ask(), [0.5])
        left.append([len(o) for o in strategy.distribution.survivors.values()])
    removed = [a for a, _ in left].index(1)
    assert 0 < removed < 9, "before the first stage ended"
    assert {a for a, _ in left[removed:]} == {1}
    assert [b for _, b in left] == [6] * 9 + [4] * 10 + [2] * 11


def test_dropout_on_skips_follows_both_formulas():
    space = DecisionSpace([Decision("a", ("conv", "skip_connect"))])
    strategy = create_strategy("pdarts", space, skip_dropout=(0.1, 0.4, 0.7))
    for stage, rate in enumerate((0.1, 0.4, 0.7)):
        for epoch, expected in (
            (0, rate * 24 / 25),
            (9, rate * 15 / 25),
            (10, rate),
            (24, rate * math.exp(-0.2 * 14)),
        ):
            found = strategy.option_dropout(25 * stage + epoch)
            assert found == {"skip_connect": pytest.approx(expected)}


def test_a_normal_cell_has_at_most_the_skips_allowed_and_is_the_best_such():
    options = ("none", "skip_connect", "conv")
    decisions = [
        Decision(f"normal.{n}<-{s}", options) for n, s in [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    ]
    decisions.append(Decision("reduce.2<-0", options))
    rules = []
    for n in (2, 3):
        into = [d.name for d in decisions if d.name.startswith(f"normal.{n}")]
        taken = {(name, option): 1.0 for name in into for option in options[1:]}
        rules.append(Rule(taken, says=f"node {n} has two inputs", lower=2.0, upper=2.0))
    space = DecisionSpace(decisions, rules)
    rng = np.random.default_rng(0)
    for draw in range(12):
        strategy = create_strategy("pdarts", space, most_skips=draw % 3)
        strategy.learn_mixture([rng.dirichlet([1.0, 3.0, 1.0]) for _ in decisions])
        theta = strategy.distribution.rows

        def value(chosen, theta=theta):
            """Return the sum of probabilities; "none" counts 0 on edges into a node."""
            edges = sum(theta[i][o] for i, o in enumerate(chosen[:-1]) if o != 0)
            return edges + theta[-1][chosen[-1]]

        legal = [
            chosen
            for chosen in itertools.product(range(3), repeat=6)
            if all(rule.holds(space.decode(chosen)) for rule in rules)
            and chosen[:-1].count(1) <= draw % 3
        ]
        found = space.encode(strategy.architecture)
        assert found in legal and value(found) == pytest.approx(max(map(value, legal)))


def test_what_contradicts_the_stages_is_refused():
    space = DecisionSpace([Decision("a", ("conv", "skip_connect"))])
    with pytest.raises(OptionError, match="pdarts prunes after each of its stages anyway"):
        create_strategy("pdarts", space, pruning=True)


def test_the_logits_learn_in_every_stage_of_the_shortest_schedule():
    space = DecisionSpace([Decision("a", ("conv", "skip_connect"))])
    for epochs in range(6, 40):
        strategy = create_strategy("pdarts", space, epochs=epochs)
        learning = [[]]
        for epoch in range(epochs):
            if epoch > 0 and strategy.begins(epoch):
                learning.append([])
            learning[-1].append(strategy.learns(epoch))
        assert len(learning) == 3 and all(map(any, learning)), epochs
    for epochs in (1, 3, 4, 5):
        with pytest.raises(OptionError, match=rf"6 epochs or more, not {epochs}: the logits learn"):
            create_strategy("pdarts", space, epochs=epochs)
