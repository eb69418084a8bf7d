"""Architectures that may be sampled in a search over a space with rules."""

import numpy as np

from ddpnas import Rule
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies import DDPNASPaper
from ddpnas.strategies.legal import LegalSampler

OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
CELL = DecisionSpace([Decision(f"e{i}", OPERATIONS) for i in range(3)])


def test_every_survivor_that_the_rules_allow_occurs_in_a_cycle():
    rules = [
        Rule({("e0", "none"): 1, ("e1", "skip"): -1}, "none on e0 needs skip on e1", upper=0),
        Rule({("e2", "pool"): 1}, "no pool on e2", upper=0),
    ]
    space = DecisionSpace(CELL.decisions, rules)
    sampler, strategy = LegalSampler(space), DDPNASPaper(space)
    for seed in range(10):
        cycle = sampler.fair_cycle(strategy.distribution, np.random.default_rng(seed))
        assert sampler.holds(cycle).all()
        for i in range(3):
            expected = set(range(5)) - ({4} if i == 2 else set())
            assert {indices[i] for indices in cycle} == expected


def test_tight_rules_are_met_where_blind_draws_fail():
    names = [f"d{i}" for i in range(12)]
    rule = Rule({(n, "on"): 1 for n in names}, "all on but one", lower=11, upper=11)
    space = DecisionSpace([Decision(n, ("off", "a", "b", "on")) for n in names], [rule])
    indices = LegalSampler(space).uniform(np.random.default_rng(0))
    assert sum(i == 3 for i in indices) == 11
