"""What gradient-based strategies do with the probabilities of a mixture, without training one."""

import numpy as np
import pytest

from ddpnas.errors import OptionError
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies import GradientStrategy, create_strategy, list_strategies, strategy_class
from ddpnas.testing import StrategyContract

from ..conftest import published_space

METHODS = [n for n in list_strategies() if issubclass(strategy_class(n), GradientStrategy)]


def fed(strategy):
    """Let a strategy learn made-up probabilities before each score that it is told."""
    tell = strategy.tell

    def told(architectures, scores):
        rng = np.random.default_rng(len(strategy.history))
        rows = [rng.dirichlet(np.ones(len(alive))) * alive for alive in strategy.distribution.alive]
        strategy.learn_mixture([row / row.sum() for row in rows])
        tell(architectures, scores)

    strategy.tell = told
    return strategy


def contract(name, **options):
    class Test(StrategyContract):
        def make_strategy(self, space, seed):
            return fed(create_strategy(name, space, seed=seed, epochs=7, **options))

        test_higher_scores_are_better = None  # it learns from the mixture, not from scores

    return Test


for _name in METHODS:
    _test = contract(_name)
    # Most differ in how they train alone, which is not part of this contract.
    globals()[f"Test_{_name}"] = _test if _name in ("gdas", "pdarts") else pytest.mark.slow(_test)
TestPruning = contract("darts", pruning=True)


def published_top_two(theta):
    """Return the genotype by the rule in the authors' code: two inputs with the largest weight."""
    chosen = {}
    for cell in ("normal", "reduce"):
        for node in range(2, 6):
            best = {}
            for source in range(node):
                row = theta[f"{cell}.{node}<-{source}"]
                best[source] = max((k for k in range(8) if k != 0), key=lambda k, row=row: row[k])
            strongest = sorted(
                best,
                key=lambda s, best=best: -theta[f"{cell}.{node}<-{s}"][best[s]],
            )[:2]
            for source in range(node):
                chosen[f"{cell}.{node}<-{source}"] = best[source] if source in strongest else 0
    return chosen


@pytest.mark.parametrize("draws", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_cells_are_decoded_by_the_published_rule(draws):
    space = published_space("darts", channels=4, cells=3)
    assert space.decisions[0].options[0] == "none"
    rng = np.random.default_rng(0)
    for draw in range(draws):
        strategy = create_strategy("darts", space)
        sharpness = 10.0 ** rng.uniform(-1, 1.5)
        strategy.learn_mixture([rng.dirichlet(np.full(8, sharpness)) for _ in space.decisions])
        expected = published_top_two(strategy.distribution.theta)
        found = strategy.architecture
        assert {d.name: d.index(found[d.name]) for d in space.decisions} == expected, draw


def test_without_rules_the_most_likely_options_are_chosen():
    strategy = create_strategy("gdas", published_space("nasbench201"))
    rows = [np.array([0.6, 0.1, 0.1, 0.1, 0.1])] * 5 + [np.array([0.1, 0.1, 0.1, 0.6, 0.1])]
    strategy.learn_mixture(rows)
    assert list(strategy.architecture.values()) == ["none"] * 5 + ["nor_conv_3x3"]


def test_a_pruned_option_keeps_its_probability():
    space = DecisionSpace([Decision("a", ("x", "y", "z")), Decision("b", ("p", "q"))])
    strategy = create_strategy("darts", space, epochs=4, pruning=True)
    before = [np.array([0.5, 0.2, 0.3]), np.array([0.4, 0.6])]
    for rows, alive in (
        (before, ["x", "y", "z"]),
        (before, ["x", "z"]),
        ([np.array([0.25, 0.0, 0.75]), np.array([0.0, 1.0])], ["x", "z"]),
    ):
        strategy.learn_mixture(rows)
        strategy.tell(strategy.ask(), [0.5])
        assert strategy.distribution.survivors["a"] == tuple(alive)
    np.testing.assert_allclose(strategy.distribution.theta["a"], [0.2, 0.2, 0.6])


def test_options_that_contradict_each_other_are_refused():
    space = DecisionSpace([Decision("a", tuple("uvwxyz"))])
    with pytest.raises(OptionError, match="an epoch for each of 5 stages, not 4 in all"):
        create_strategy("darts", space, epochs=4, pruning=True)
    with pytest.raises(OptionError, match="order"):
        create_strategy("darts", space, order=3)
    assert create_strategy("darts", space, order=2).order == 2


def test_temperatures_fall_from_the_first_to_the_last_epoch():
    space = DecisionSpace([Decision("a", ("x", "y"))])
    gdas = create_strategy("gdas", space, epochs=250)
    assert [gdas.temperature(0), gdas.temperature(249)] == pytest.approx([10.0, 0.1])
    assert create_strategy("snas", space, epochs=100).temperature(99) == pytest.approx(1.0)
    assert create_strategy("darts", space).temperature(7) == 1.0
