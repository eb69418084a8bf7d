import numpy as np
import pytest

from ddpnas import create_strategy
from ddpnas.errors import OptionError
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace

SPACE = DecisionSpace([Decision(f"d{i}", ("a", "b", "c")) for i in range(6)])


def run(name, **options):
    strategy = create_strategy(name, SPACE, seed=3, evaluations=23, **options)
    sizes = []
    while not strategy.done:
        asked = strategy.ask()
        sizes.append(len(asked))
        strategy.tell(asked, [sum(v == "a" for v in a.values()) for a in asked])
    return sizes, strategy.history


def test_random_search_asks_the_same_however_many_at_a_time():
    sizes, together = run("random", batch=5)
    assert sizes == [5, 5, 5, 5, 3] and together == run("random")[1]


def test_evolution_fills_its_population_and_asks_for_several_children():
    sizes, together = run("regularized-evolution", population=8, batch=5)
    assert sizes == [5, 3, 5, 5, 5]
    assert together[:8] == run("regularized-evolution", population=8)[1][:8]
    for child in together[8:]:
        nearest = min(int(np.sum(np.array(child) != np.array(p))) for p in together[:-1])
        assert nearest <= 1


@pytest.mark.parametrize("name", ["random", "regularized-evolution"])
def test_a_batch_is_at_least_one(name):
    with pytest.raises(OptionError, match="batch of .* must be a whole number from"):
        run(name, batch=0)
