import numpy as np
import pytest

from ddpnas.architecture import Decision, DecisionSpace, Rule
from ddpnas.errors import OptionError
from ddpnas.strategies import DDPNAS
from ddpnas.strategies.ddpnas import survivor_softmax
from ddpnas.strategies.legal import LegalSampler

OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
CELL = DecisionSpace([Decision(f"e{i}", OPERATIONS) for i in range(3)])


def run(strategy, space):
    asked = 0
    while not strategy.done:
        batch = strategy.ask()
        asked += len(batch)
        strategy.tell(batch, [0.5 + 0.02 * sum(space.encode(a)) for a in batch])
    return asked


def test_the_conv_rule_keeps_a_convolution_and_another_option():
    strategy = DDPNAS(CELL, keep_rule="conv")
    assert strategy.evaluations == 36  # T (K (K + 1) / 2 - 3)
    assert run(strategy, CELL) == 36
    for options in strategy.distribution.survivors.values():
        assert sorted("conv" in option for option in options) == [False, True]


def test_the_conv_rule_ends_where_a_decision_has_no_convolution():
    space = DecisionSpace([*CELL.decisions, Decision("f", ("a", "b", "c"))])
    strategy = DDPNAS(space, keep_rule="conv")
    total = strategy.evaluations
    assert run(strategy, space) == total == strategy.evaluations
    assert len(strategy.distribution.survivors["f"]) == 1
    with pytest.raises(OptionError, match="keep_rule"):
        DDPNAS(CELL, keep_rule="pool")


def test_what_cannot_occur_gets_no_probability():
    alive = np.array([True, True, False])
    assert survivor_softmax(np.array([0.5, np.nan, 0.9]), alive, 0.01).tolist() == [1.0, 0.0, 0.0]


def test_every_survivor_that_the_rules_allow_occurs_in_a_cycle():
    rules = [
        Rule({("e0", "none"): 1, ("e1", "skip"): -1}, "none on e0 needs skip on e1", upper=0),
        Rule({("e2", "pool"): 1}, "no pool on e2", upper=0),
    ]
    space = DecisionSpace(CELL.decisions, rules)
    sampler, strategy = LegalSampler(space), DDPNAS(space)
    for seed in range(10):
        cycle = sampler.fair_cycle(strategy.distribution, np.random.default_rng(seed))
        assert all(sampler.holds(indices) for indices in cycle)
        for i in range(3):
            expected = set(range(5)) - ({4} if i == 2 else set())
            assert {indices[i] for indices in cycle} == expected


def test_tight_rules_are_met_by_the_solver_where_draws_fail():
    names = [f"d{i}" for i in range(12)]
    rule = Rule({(n, "on"): 1 for n in names}, "all on but one", lower=11, upper=11)
    space = DecisionSpace([Decision(n, ("off", "a", "b", "on")) for n in names], [rule])
    indices = LegalSampler(space).uniform(np.random.default_rng(0))
    assert sum(i == 3 for i in indices) == 11
