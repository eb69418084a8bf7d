"""Files of others: read within bounds, checked against a shape, refused in one sentence."""

import json
import os
import socket
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from ddpnas.errors import DataError, OptionError, RunError
from ddpnas.utils.read import (
    Measured,
    Whole,
    checked_content,
    parse_json,
    parse_yaml,
    read_file,
    read_json,
    read_records,
    read_yaml,
)
from ddpnas.utils.shapes import Range

LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


class Term(TypedDict):
    choices: list[tuple[str, str]]
    cost: float
    note: NotRequired[str]


class Table(TypedDict):
    name: str
    terms: list[Term]
    limit: int | None
    kind: Literal["sum", "mean"]


@dataclass(frozen=True)
class Setting:
    size: Annotated[int, Range(1, 8)]
    name: str = "x"

    def __post_init__(self):
        if self.name == "bad":
            raise OptionError("bad is no name")


GOOD = {
    "name": "macs",
    "terms": [{"choices": [["op", "conv"]], "cost": 2}],
    "limit": None,
    "kind": "sum",
}


def test_what_has_the_shape_is_returned_with_its_whole_numbers():
    found = checked_content({**GOOD, "more": [1, {"x": None}]}, Table, "t.json")
    assert found == {
        **GOOD,
        "terms": [{"choices": [("op", "conv")], "cost": 2}],
        "more": [1, {"x": None}],
    }
    assert type(found["terms"][0]["cost"]) is int
    assert checked_content({"size": 3}, Setting, "s.json") == Setting(3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "name must be text, not 3"),
        ({"name": None}, "name must be text, not None"),
        ({"name": "\ud800"}, r"name is '\ud800', which UTF-8 cannot hold"),
        ({"terms": {}}, "terms must be a list of mappings of names to values, not {}"),
        ({"terms": [3]}, "terms[0] must be a mapping of names to values, not 3"),
        (
            {"terms": [{"cost": 1}]},
            "terms[0].choices is missing; it must be a list of lists of 2 texts",
        ),
        (
            {"terms": [{"choices": [["a"]], "cost": 1}]},
            "terms[0].choices[0] must be a list of 2 texts, not ['a']",
        ),
        (
            {"terms": [{"choices": [], "cost": float("nan")}]},
            "terms[0].cost must be a finite number, not nan",
        ),
        (
            {"terms": [{"choices": [], "cost": True}]},
            "terms[0].cost must be a finite number, not True",
        ),
        (
            {"terms": [{"choices": [], "cost": 10**400}]},
            "must be a finite number, not a number of 1,329 bits",
        ),
        ({"limit": 2.5}, "limit must be a whole number, not 2.5"),
        ({"kind": "max"}, "unknown kind 'max': did you mean 'mean'? known: mean, sum"),
        ({"kind": []}, "kind must be one of sum, mean, not []"),
        ({"more": {"x": "\udc00"}}, "more.x is"),
    ],
)
def test_what_has_another_shape_is_refused_with_its_key(change, says):
    with pytest.raises(DataError) as caught:
        checked_content({**GOOD, **change}, Table, "t.json", DataError)
    assert str(caught.value).startswith("cannot use t.json: ")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_dataclass_takes_its_fields_only_and_may_refuse_them():
    for content, says in (
        ({}, "size is missing; it must be a whole number from 1 to 8"),
        ({"size": 9}, "size must be a whole number from 1 to 8, not 9"),
        ({"size": 3, "nome": ""}, "nome is not known to this version"),
        ({"size": 3, "name": "bad"}, "bad is no name"),
        ([], "its content must be a mapping of names to values, not"),
    ):
        with pytest.raises(RunError, match=says):
            checked_content(content, Setting, "s.json")


def test_measurements_may_be_nan_and_counts_not_negative():
    assert str(checked_content([float("nan")], list[Measured], "x")) == "[nan]"
    with pytest.raises(RunError, match="its content must be a whole number of at least 0, not -1"):
        checked_content(-1, Whole, "x")


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", "nul", '{"a": 1, "a": 2}', "[" * 100_000, "1" * 5000]
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(RunError, match=r"^cannot use x.json: "):
        checked_content(parse_json(text, "x.json"), Any, "x.json")


def test_deep_nesting_is_refused_wherever_anything_is_allowed():
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(RunError, match="nested more than"):
        checked_content({"x": deep}, dict[str, Any], "x.json")


@pytest.mark.parametrize(
    "text",
    [LAUGHS, "a: &a [*a]", "[" * 5000, "a: 1\na: 2", "a: [", "? [1]\n: 2",
     "!!python/object:os.system {}", "a: 2020-99-99", "a: !!int x", "\0",
     "a: " + "1" * 5000, "a: !!set {b, b}", "--- 1\n--- 2"],
)  # fmt: skip
def test_what_is_no_plain_yaml_is_refused(text):
    with pytest.raises(OptionError, match=r"cannot use x.yaml: .*"):
        checked_content(
            parse_yaml(text, "x.yaml", OptionError), dict[str, Any], "x.yaml", OptionError
        )


@pytest.mark.parametrize(
    "text", ["a: 2020-01-01", "a: !!binary aGk=", "1: 2", "a: !!set {b}", "3", "-"]
)
def test_yaml_that_json_cannot_hold_is_refused(text):
    with pytest.raises(OptionError):
        checked_content(
            parse_yaml(text, "x.yaml", OptionError), dict[str, Any], "x.yaml", OptionError
        )


def test_the_mark_of_windows_editors_is_no_damage(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_json(tmp_path / "x.json") == read_yaml(tmp_path / "x.yaml") == {"a": 1}


def test_other_encodings_are_named(tmp_path):
    (tmp_path / "x.json").write_text('{"ü": 1}', encoding="latin-1")
    with pytest.raises(RunError, match=r"x.json is not UTF-8 \(byte 0xfc at 2\); save it as UTF-8"):
        read_json(tmp_path / "x.json")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    for path, says in (
        (tmp_path / "pipe", "is a pipe, not a file"),
        (tmp_path / "folder", "is a folder, not a file"),
        (tmp_path / "socket", "is a socket, not a file"),
        ("/dev/zero", "is a device, not a file"),
        (tmp_path / "none", "there is no file"),
        (tmp_path / "circle", "cannot be read"),
        ("a\0b", "cannot be read"),
    ):
        for one in (read_file, read_json, read_yaml):
            with pytest.raises(RunError, match=says):
                one(path)


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("a: 1\n" * 100_000)
    with pytest.raises(RunError, match=r"has 500,000 bytes; the most is 262,144"):
        read_yaml(tmp_path / "x.yaml")


def test_records_are_checked_line_by_line_and_the_last_may_be_torn(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_records(path, Table) == []
    path.write_text(json.dumps({"score": 1}) + "\n" + '{"score": 2\u2028}')
    assert read_records(path, dict[str, float]) == [{"score": 1}]
    path.write_text('{"score": 1}\n{"score": "x"}\n')
    with pytest.raises(
        RunError, match=r"cannot use line 2 of .*jsonl: score must be a finite number"
    ):
        read_records(path, dict[str, float])
