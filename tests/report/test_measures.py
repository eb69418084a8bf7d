import numpy as np
import pytest

import ddpnas
from ddpnas.report.measures import (
    is_skip,
    pruned_after,
    random_points,
    skip_count,
    skip_stages,
    time_spent,
)
from ddpnas.runs import Run


def test_the_parts_of_the_time_are_those_of_the_history(whole_run):
    run = Run(whole_run)
    spent = time_spent(run)
    evaluating = sum(record["seconds"] for record in run.history)
    parts = ("training", "validation", "other")
    assert sum(spent[part] for part in parts) == pytest.approx(evaluating)
    assert spent["strategy"] > 0 and spent["saving"] > 0


def test_pruned_after_is_the_first_stage_without_the_option(whole_run):
    run = Run(whole_run)
    for decision in run.decision_space.decisions:
        fates = [pruned_after(run, decision.name, option) for option in decision.options]
        assert fates.count(None) == 1 and sorted(f for f in fates if f) == [1, 2]


def test_skip_connections_by_stage_add_up(whole_run):
    run = Run(whole_run)
    stages = skip_stages(run)
    assert stages[0].surviving == stages[0].by_chance == 4 and stages[0].spread == 0
    assert stages[0].expected == pytest.approx(4 / 3) == stages[0].uniform
    last = run.distribution.survivors
    assert stages[-1].surviving == sum(names == ("skip",) for names in last.values())
    assert stages[-1].by_chance == pytest.approx(4 / 3)
    assert stages[-1].spread == pytest.approx(np.sqrt(4 * 1 / 3 * 2 / 3))


def test_chance_of_skips_is_that_of_uniform_architectures():
    space = ddpnas.create_space("toy")
    count = skip_count(space, {d.name: "skip" for d in space.decisions})
    assert count.found == 4 > count.high
    assert count.mean == pytest.approx(4 / 3, abs=4 * np.sqrt(8 / 9 / count.draws))


def test_random_points_are_distinct_and_cost_what_the_table_says():
    space = ddpnas.create_space("toy")
    costs = ddpnas.count_costs(space)
    distribution = ddpnas.JointDistribution.uniform(space.decisions)
    points = random_points(space, distribution, costs, 40)
    assert len({p.text for p in points}) == len(points) > 20
    for p in points:
        assert p.costs["macs"] == costs["macs"].cost(space.parse(p.text))
        assert p.log_prob == pytest.approx(4 * np.log(1 / 3))


def test_skips_are_known_by_their_names():
    assert all(map(is_skip, ("skip", "skip_connect", "identity", "Identity")))
    assert not any(map(is_skip, ("none", "conv3", "max_pool_3x3")))
