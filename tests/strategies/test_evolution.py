import itertools

import numpy as np
import pytest

from ddpnas import create_strategy
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace

SPACE = DecisionSpace([Decision(f"d{i}", tuple("abcd")) for i in range(10)])


def changes(a, b):
    return sum(a[name] != b[name] for name in a)


def evolve(score, **options):
    """Return what was asked, in order, and its scores."""
    strategy = create_strategy("regularized-evolution", SPACE, **options)
    asked, scores = [], []
    while not strategy.done:
        (architecture,) = strategy.ask()
        asked.append(architecture)
        scores.append(score(len(scores)))
        strategy.tell([architecture], scores[-1:])
    return asked, scores


def test_a_child_has_one_change_from_the_fittest_when_all_compete():
    rng = np.random.default_rng(0)
    asked, scores = evolve(lambda at: rng.random(), evaluations=40, population=5, sample=5)
    for at in range(5, 40):
        fittest = max(range(at - 5, at), key=scores.__getitem__)
        assert changes(asked[at], asked[fittest]) == 1


def test_the_oldest_dies_however_good_it_is():
    asked, _ = evolve(lambda at: -at, evaluations=40, population=5, sample=5)
    for at in range(5, 40):
        assert changes(asked[at], asked[at - 5]) == 1


def test_the_parent_is_the_fittest_of_a_sample_drawn_without_replacement():
    searches, ranks = 600, np.zeros(4)
    for seed in range(searches):
        asked, _ = evolve(lambda at: -at, seed=seed, evaluations=5, population=4, sample=2)
        ranks[[changes(asked[4], parent) for parent in asked[:4]].index(1)] += 1
    pairs = np.array([3, 2, 1, 0])  # of the six pairs, those of which it is the fittest
    assert ranks[3] == 0
    assert ranks / searches == pytest.approx(pairs / 6, abs=0.08)  # 4 standard errors


def test_a_mutation_of_an_ordered_decision_is_one_step():
    """A child has the next smaller or larger width, or another block."""
    widths = DecisionSpace(
        [
            Decision("w", tuple("123456789"), values=tuple(range(1, 10))),
            Decision("block", tuple("abc")),
        ]
    )
    strategy = create_strategy(
        "regularized-evolution", widths, population=1, sample=1, evaluations=100
    )
    asked = []
    while not strategy.done:
        (architecture,) = strategy.ask()
        asked.append(widths.encode(architecture))
        strategy.tell([architecture], [0.5])
    steps = {(abs(a[0] - b[0]), a[1] != b[1]) for a, b in itertools.pairwise(asked)}
    assert steps == {(1, False), (0, True)}
