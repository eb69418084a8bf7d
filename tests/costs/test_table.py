import pytest

from ddpnas import CostTable
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
