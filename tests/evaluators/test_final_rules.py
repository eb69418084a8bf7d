"""A search draws paths, for which rules on final networks need not hold (DARTS: two inputs)."""

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import ArchitectureError
from ddpnas.space import DecisionSpace, Rule

EVALUATORS = {"supernet": {"batch_size": 48, "warmup_epochs": 1}, "standalone": {"epochs": 1}}


@pytest.fixture(scope="module")
def darts(stripes):
    return ddpnas.create_space(
        "darts", channels=4, cells=3, num_classes=3, input_shape=stripes.input_shape
    )


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_every_evaluator_scores_paths_that_are_no_final_networks(darts, stripes, evaluator):
    result = ddpnas.search(
        darts, stripes, "random", strategy_options={"evaluations": 2}, device="cpu",
        evaluator=evaluator, evaluator_options=EVALUATORS[evaluator],
    )  # fmt: skip
    assert len(result.history) == 2
    assert darts.check(result.architecture) == result.architecture


def test_a_path_is_built_where_a_final_network_is_refused(darts):
    searched = DecisionSpace(darts.decisions, [rule for rule in darts.rules if not rule.final])
    path = searched.sample(np.random.default_rng(0))
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
