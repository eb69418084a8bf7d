import pytest

from ddpnas.report.blocks import Column, DataTable, csv_records, short_amount, written
from ddpnas.utils.duration import duration


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0.0004, "0 ms"), (0.25, "250 ms"), (41.33, "41.3 s"), (59.97, "1 min"),
        (75, "1 min 15 s"), (3600, "1 h"), (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_durations_are_written_in_two_units_at_most(seconds, says):
    assert duration(seconds) == says


@pytest.mark.parametrize(
    ("value", "says"),
    [(0, "0"), (9408, "9,408"), (35170, "35.2 K"), (3268032, "3.27 M"), (6e10, "60.0 G"),
     (1.25, "1.25")],
)  # fmt: skip
def test_amounts_are_written_with_thousands_and_letters(value, says):
    assert short_amount(value) == says


def test_values_are_written_by_the_kind_of_their_column():
    kinds = {
        "percent": (0.7925, "79.25 %"), "count": (1234, "1,234"), "signed": (0.0123, "+0.0123"),
        "seconds": (61, "1 min 1 s"), "amount": (1234567.0, "1,234,567"), "text": ("a", "a"),
    }  # fmt: skip
    for kind, (value, says) in kinds.items():
        assert written(value, kind) == says
    assert written(None, "count") == "-"


def test_csv_keeps_numbers_in_full_and_names_the_unit():
    table = DataTable("t", "", (Column("time", "seconds", "s"), Column("a b")), ((1 / 3, None),))
    assert csv_records(table, "r") == [{"run": "r", "time_s": 1 / 3, "a_b": ""}]
    assert list(csv_records(table, None)[0]) == ["time_s", "a_b"]
