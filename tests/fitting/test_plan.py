"""How the time of a fit is divided, and what a plan keeps of it."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpnas.costs.pace import Pace
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, RunError
from ddpnas.fitting import FitPlan, resume_fit
from ddpnas.fitting.plan import divide

PLAN = FitPlan(
    seconds=60.0, started=5.0, reserve=10.0, limits={"macs": "2000000"}, seed=1, device="cpu",
    threads=1, space_options={}, strategy_options={}, evaluator_options={},
)  # fmt: skip


def racing_seconds(race):
    """Return what all rungs take together."""
    total, size, before = 0.0, race.candidates, 0.0
    for rung in range(race.rungs):
        each = race.seconds * race.reduction**rung
        total += size * (each - before)
        size, before = -(-size // race.reduction), each
    return total


@given(st.floats(1, 1e5), st.floats(0.01, 1e4))
def test_a_race_leaves_most_of_the_time_to_the_winner(seconds, epoch):
    race = divide(seconds, epoch)
    assert 1 <= race.candidates <= 6
    if race.candidates > 2:
        assert racing_seconds(race) <= 0.16 * seconds
    assert race.seconds >= 0.25 * epoch or race.candidates <= 2
    assert race.candidates > 1 or racing_seconds(race) <= 0.01 * epoch


@given(st.floats(1, 1e4), st.floats(0.1, 100))
def test_more_time_never_means_fewer_candidates(seconds, epoch):
    assert divide(2 * seconds, epoch).candidates >= divide(seconds, epoch).candidates


def test_without_time_for_several_epochs_there_is_no_race():
    assert divide(99.9, 1.0).candidates == 1
    assert divide(100.1, 1.0).candidates > 1


@given(st.floats(0.001, 1e6) | st.integers(1, 600_000).map(lambda n: n / 100))
def test_the_minutes_that_made_a_plan_are_those_of_the_plan(minutes):
    plan = dataclasses.replace(PLAN, seconds=60 * minutes)
    plan.refuse_others({"minutes": (minutes, 10.0)})
    with pytest.raises(OptionError, match="the plan says minutes = "):
        plan.refuse_others({"minutes": (1.1 * minutes, 10.0)})


def test_a_plan_says_its_minutes_as_they_were_given():
    plan = dataclasses.replace(PLAN, seconds=60 * 0.48)
    with pytest.raises(OptionError, match=r"the plan says minutes = 0\.48, not 0\.5"):
        plan.refuse_others({"minutes": (0.5, 10.0)})


def test_a_plan_is_read_as_it_was_written(tmp_path):
    PLAN.with_epochs(7).save(tmp_path)
    assert FitPlan.read(tmp_path) == PLAN.with_epochs(7)
    assert FitPlan.read(tmp_path / "plan.json").training == 45.0


@pytest.mark.parametrize(
    ("change", "says"),
    [({"seconds": -1}, "seconds"), ({"seed": "x"}, "seed"), ({"threads": 0}, "threads"),
     ({"surprise": 1}, "surprise"), ({"limits": [1]}, "limits"),
     ({"shortened": {"x": 3}}, "shortened"), ({"code": {"mine.py:net": {"file": 1}}}, "code")],
)  # fmt: skip
def test_a_damaged_plan_is_refused_in_a_sentence(tmp_path, change, says):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**PLAN.to_dict(), **change}))
    with pytest.raises(OptionError, match=rf"\b{says}\b"):
        FitPlan.read(file)


def test_images_that_a_plan_cannot_mean_are_refused_in_a_sentence(tmp_path):
    plan = {**PLAN.to_dict(), "start": "timm:resnet18", "data": {"data": "x", "strange": 1}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RunError, match="plan.json.*strange"):
        resume_fit(tmp_path)


def test_a_plan_without_a_part_is_refused(tmp_path):
    content = PLAN.to_dict()
    del content["limits"]
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match="limits"):
        FitPlan.read(tmp_path)


def test_a_pace_is_found_again_from_what_it_predicts():
    true = Pace({"macs": 2e-6, "activation_bytes": 3e-5, "": 0.5})
    costs = [
        {"macs": macs, "activation_bytes": memory}
        for macs, memory in [(1e6, 1e5), (2e6, 5e4), (5e5, 3e5), (4e6, 1e4)]
    ]
    found = Pace.fitted(costs, [true.of(c) for c in costs])
    assert found.seconds == pytest.approx(true.seconds)
    assert min(Pace.fitted(costs, [1.0, 2.0, 1.5, 9.0]).seconds.values()) > 0


def test_the_table_of_a_pace_is_the_sum_of_its_costs():
    macs = CostTable("macs", "MACs", 5, {(("a", "x"),): 10})
    memory = CostTable("activation_bytes", "bytes", 1, {(("a", "x"),): 2, (("b", "y"),): 4})
    table = Pace({"macs": 0.1, "activation_bytes": 1.0, "": 7.0}).table(
        {"macs": macs, "activation_bytes": memory}
    )
    assert table.cost({"a": "x", "b": "y"}) == pytest.approx(0.1 * 15 + 7 + 7)
    with pytest.raises(OptionError, match="energy"):
        Pace({"energy": 1.0}).table({"macs": macs})
