"""A search draws paths, for which rules on final networks need not hold (DARTS: two inputs)."""

import math

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import ArchitectureError
from ddpnas.evaluators.proxies import ProxyScores
from ddpnas.evaluators.registry import create_evaluator
from ddpnas.space import DecisionSpace, Rule


@pytest.fixture(scope="module")
def darts(stripes):
    return ddpnas.create_space(
        "darts", channels=4, cells=3, num_classes=3, input_shape=stripes.input_shape
    )


@pytest.fixture(scope="module")
def path(darts):
    searched = DecisionSpace(darts.decisions, [rule for rule in darts.rules if not rule.final])
    return searched.sample(np.random.default_rng(0))


def test_proxies_score_a_path_that_is_no_final_network(darts, stripes, path):
    assert all(map(math.isfinite, ProxyScores(darts, stripes, seed=0).measure(path).values()))


def test_a_path_that_is_no_final_network_is_trained_alone(darts, stripes, path):
    alone = create_evaluator("standalone", darts, stripes, evaluations=1, device="cpu", epochs=1)
    assert 0 <= next(iter(alone.evaluate([path]))).score <= 1


def test_a_path_is_trained_further_and_its_training_restored(darts, stripes, path):
    def started():
        return create_evaluator("continued", darts, stripes, evaluations=1, device="cpu")

    (first,) = (unbroken := started()).evaluate([path])
    assert 0 <= first.score <= 1
    resumed = started()
    resumed.load_state_dict(*unbroken.state_dict())
    again = [next(iter(one.evaluate([path]))).score for one in (unbroken, resumed)]
    assert again[0] == again[1]


def test_a_path_is_built_where_a_final_network_is_refused(darts, path):
    with pytest.raises(ArchitectureError, match="exactly two inputs"):
        darts.build(path)
    assert darts.build(path, path=True)


def test_a_path_obeys_the_other_rules(small_space):
    first = small_space.decisions[0]
    rule = Rule({(first.name, first.options[0]): 1.0}, says="not the first", upper=0)
    space = DecisionSpace(small_space.decisions, [rule])
    broken = {d.name: d.options[0] for d in space.decisions}
    with pytest.raises(ArchitectureError, match="not the first"):
        space.check(broken, path=True)
