import pytest
from hypothesis import given, settings

from ddpnas import CostTable, DataError, Decision, DecisionSpace, InfeasibleError, Rule, SpaceError
from ddpnas.generation._problem import Problem
from tests.problems import everything, problems

SPACE = DecisionSpace(
    [Decision("a", ("x", "y")), Decision("b", ("x", "y"), active_when=(("a", "y"),))]
)
TABLE = CostTable(
    "macs", "MACs", 100, {(("a", "x"),): 5, (("a", "y"),): 7, (("a", "y"), ("b", "x")): 30}
)


def test_a_term_is_paid_when_all_its_choices_are_made():
    assert TABLE.cost({"a": "x", "b": "x"}) == 105
    assert TABLE.cost({"a": "y", "b": "x"}) == 137
    assert TABLE.cost({"a": "y", "b": "y"}) == 107


def test_a_table_survives_its_file(tmp_path):
    TABLE.save(tmp_path / "macs.json")
    assert CostTable.load(tmp_path / "macs.json") == TABLE


@pytest.mark.parametrize("content", ["", "{}", '{"name": 1, "terms": 3}', "[1, 2]"])
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=r"t\.json is not a cost table"):
        CostTable.load(tmp_path / "t.json")
    with pytest.raises(DataError, match="no cost table"):
        CostTable.load(tmp_path / "absent.json")


def test_a_table_of_another_space_is_refused():
    TABLE.check(SPACE)
    with pytest.raises(SpaceError, match="did you mean 'a'|unknown decision"):
        CostTable("t", "u", 0, {(("c", "x"),): 1}).check(SPACE)
    with pytest.raises(SpaceError, match="option of decision 'a'"):
        CostTable("t", "u", 0, {(("a", "z"),): 1}).check(SPACE)


@settings(max_examples=150)
@given(problems(least_costs=1))
def test_bounds_are_the_least_and_most_of_all_architectures(problem):
    space, _, costs, _ = problem
    every = list(everything(space))
    for table in costs.values():
        if not every:
            with pytest.raises(InfeasibleError):
                table.bounds(space)
            continue
        reached = [table.cost(architecture) for architecture in every]
        assert table.bounds(space) == pytest.approx((min(reached), max(reached)), rel=1e-14)


def test_bounds_of_rules_that_tell_too_many_sums_apart_are_exact_too():
    names = [f"d{i}" for i in range(22)]
    weights = {(n, "y"): 1.0 + i * 2.0**-i for i, n in enumerate(names)}
    space = DecisionSpace([Decision(n, ("x", "y")) for n in names], [Rule(weights, "r", lower=12)])
    table = CostTable("c", "u", 0, {(pair,): 2 for pair in weights})
    assert Problem(space, {"c": table}).diagram is None
    few = sorted(weights.values(), reverse=True)
    least = next(k for k in range(len(few)) if sum(few[:k]) >= 12)
    assert table.bounds(space) == (2 * least, 2 * len(names))
