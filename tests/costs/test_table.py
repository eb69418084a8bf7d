import pytest

from ddpnas import (
    CostTable,
    JointDistribution,
    SearchSpace,
    count_costs,
    create_space,
    generate,
)
from ddpnas.errors import DataError, SpaceError
from ddpnas.space import Decision, DecisionSpace

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
    with pytest.raises(DataError, match=r"cannot use .*t\.json: "):
        CostTable.load(tmp_path / "t.json")
    with pytest.raises(DataError, match="there is no file .*absent.json"):
        CostTable.load(tmp_path / "absent.json")


SMALL = {"channels": 2, "cells_per_stage": 1, "input_shape": (1, 8, 8)}


@pytest.mark.parametrize("through_file", [False, True])
def test_a_table_of_another_network_is_refused(through_file, tmp_path):
    space = create_space("nasbench201", **SMALL)
    table = count_costs(space)["macs"]
    if through_file:
        table.save(tmp_path / "macs.json")
        table = CostTable.load(tmp_path / "macs.json")
    table.check(space)
    table.check(DecisionSpace(space.decisions))  # of which network is not known
    for changes, says in (
        ({"channels": 4}, "to another network: channels 2 instead of 4"),
        ({"input_shape": (3, 8, 8)}, r"input_shape \[1, 8, 8\] instead of \[3, 8, 8\]"),
    ):
        with pytest.raises(SpaceError, match=says):
            table.check(create_space("nasbench201", **SMALL | changes))
    renamed = SearchSpace(space.network, name="mine", **SMALL)
    with pytest.raises(SpaceError, match="belongs to space 'nasbench201', not 'mine'"):
        table.check(renamed)
    uniform = JointDistribution.uniform(space.decisions)
    with pytest.raises(SpaceError, match="another network"):
        generate(
            uniform, create_space("nasbench201", **SMALL | {"channels": 4}), {}, {"macs": table}
        )


def test_equal_terms_add_and_the_order_of_choices_does_not_matter():
    ab, ba = (("a", "y"), ("b", "x")), (("b", "x"), ("a", "y"))
    table = CostTable("t", "u", 1, {ab: 10, ba: 20, (("a", "x"), ("a", "y")): 7, (): 2})
    assert table == CostTable("t", "u", 3, {ab: 30})
    assert table.cost({"a": "y", "b": "x"}) == 33
    data = {"name": "t", "unit": "u", "fixed": 3, "terms": [
        {"choices": [["a", "y"], ["b", "x"]], "cost": 10},
        {"choices": [["b", "x"], ["a", "y"]], "cost": 15},
        {"choices": [["b", "x"], ["a", "y"]], "cost": 5},
    ]}  # fmt: skip
    assert CostTable.from_dict(data) == table


def test_a_table_of_another_space_is_refused():
    TABLE.check(SPACE)
    with pytest.raises(SpaceError, match="did you mean 'a'|unknown decision"):
        CostTable("t", "u", 0, {(("c", "x"),): 1}).check(SPACE)
    with pytest.raises(SpaceError, match="option of decision 'a'"):
        CostTable("t", "u", 0, {(("a", "z"),): 1}).check(SPACE)
