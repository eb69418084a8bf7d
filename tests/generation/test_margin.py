"""Limits on measured costs keep a margin for the error of the table; counted ones do not."""

import numpy as np
import pytest

from ddpnas import CostTable, JointDistribution, frontier, generate, top_k
from ddpnas.costs._additivity import check_additivity
from ddpnas.errors import DataError, InfeasibleError, OptionError
from ddpnas.generation import Limit, sample_within
from ddpnas.generation.limits import tightened_limits
from ddpnas.space import Decision, DecisionSpace

SPACE = DecisionSpace([Decision("op", ("a", "b", "c"))])
UNIFORM = JointDistribution.uniform(SPACE.decisions).with_rows([np.array([0.1, 0.3, 0.6])])


def table(name, about):
    terms = {(("op", "a"),): 0.5, (("op", "b"),): 0.66, (("op", "c"),): 0.68}
    return CostTable(name, "ms", 0, terms, about)


MEASURED = table("latency_ms", {"check": {"p95_percent": 5.0, "worst_percent": 9.0}})
OF_BEFORE = table("latency_ms", {"check": {"worst_percent": 9.0}})
COUNTED = table("macs", {"counted": True, "check": {"p95_percent": 5.0}})


@pytest.mark.parametrize(
    ("costs", "margin", "chosen"),
    [
        (MEASURED, None, "b"),  # 0.68 could be 0.716, 0.66 is at most 0.695
        (MEASURED, "10%", "a"),
        (MEASURED, 0, "c"),
        (OF_BEFORE, None, "a"),
        (COUNTED, None, "c"),
        (COUNTED, 0.1, "c"),
    ],
)
def test_a_prediction_is_so_far_below_the_limit_that_the_network_keeps_it(costs, margin, chosen):
    tables, limits = {costs.name: costs}, {costs.name: 0.7}
    found = generate(UNIFORM, SPACE, limits, tables, margin=margin)
    assert found.architecture["op"] == chosen
    assert found.limits == {costs.name: Limit(upper=0.7)}
    upper = found.tightened[costs.name].upper
    assert found.costs[costs.name] <= upper <= 0.7
    assert top_k(UNIFORM, SPACE, 1, limits, tables, margin=margin)[0] != []
    curve = frontier(UNIFORM, SPACE, costs.name, limits, tables, margin=margin)
    assert curve[-1].architecture["op"] == chosen
    drawn = sample_within(SPACE, limits, tables, np.random.default_rng(0), margin=margin)
    assert costs.cost(drawn) <= upper


def test_both_ends_are_tightened_and_nothing_left_is_told():
    costs = {"latency_ms": MEASURED}
    found = tightened_limits({"latency_ms": Limit(1, 2)}, costs, "5%")
    assert found == {"latency_ms": Limit(1.05, 1.9)}
    with pytest.raises(OptionError, match="latency_ms: a margin of 40 % leaves nothing of 1 to 2"):
        tightened_limits({"latency_ms": Limit(1, 2)}, costs, 0.4)
    for bad in (1, -0.1, "100%", "x", float("nan"), "5"):
        with pytest.raises(OptionError, match="a margin is a share from 0 to less than 1"):
            tightened_limits({}, {}, bad)
    useless = {"latency_ms": table("latency_ms", {"check": {"p95_percent": 130.0}})}
    with pytest.raises(OptionError, match="wrong by up to 130 %"):
        tightened_limits({"latency_ms": Limit(upper=2)}, useless)
    with pytest.raises(
        InfeasibleError, match=r"0\.49 \(0\.5158 and the margin|latency_ms <= 0\.49"
    ):
        generate(UNIFORM, SPACE, {"latency_ms": "0.5158"}, costs, margin=0.05)


@pytest.mark.parametrize("about", [{"check": 3}, {"check": {"p95_percent": "much"}}, {}])
def test_a_table_that_does_not_know_its_error_has_no_margin(about):
    assert table("latency_ms", about).margin == 0


def test_the_margin_is_the_95th_percentile_of_the_left_out_errors():
    found = check_additivity([1, 2, 3, 5, 8, 9], [4, 6.3, 8, 12, 17.5, 20.4])
    assert found.mape_percent < found.p95_percent <= found.worst_percent


@pytest.mark.parametrize("name", ["", "a b", "a<b", "x" * 51, "a\x07"])
def test_a_cost_that_no_limit_could_name_is_refused(name):
    with pytest.raises(DataError, match="a cost cannot be named"):
        table(name, {})
    assert table("energy/image", {}).name == "energy/image"
