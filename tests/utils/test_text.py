import csv
import io

import pytest

from ddpnas.utils.text import code_span, csv_text, markdown, plot_text, printable, printable_lines


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shoe [left] :smile: é 猫", "shoe [left] :smile: é 猫"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\r\x07\x9b", r"a\nb\r\x07\x9b"),
        ("a\u202egnp.exe\u2066", r"a\u202egnp.exe\u2066"),
        ("caf\udce9", r"caf\udce9"),
        ("\u2028", r"\u2028"),
    ],
)
def test_nothing_in_a_name_controls_a_terminal(name, shown):
    assert printable(name) == shown
    assert printable_lines(f"{name}|\n|".replace("\n|", "\n")).endswith("|\n")


def test_only_line_breaks_are_left_of_lines():
    assert printable_lines("a\nb\rc\n") == "a\nb\\rc\n"


@pytest.mark.parametrize(
    "formula", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\uff1d1+1"]
)
def test_a_spreadsheet_finds_no_formula(formula):
    rows = list(csv.reader(io.StringIO(csv_text([formula], [[formula, 'a,"b"']]), newline="")))
    assert all(row[0][0] == "'" and row[0][1:].strip() == formula.strip() for row in rows)
    assert rows[1][1] == 'a,"b"'


def test_numbers_and_signs_stay_what_they_are():
    cells = [-1, -0.5, 1e-300, "-1.5", "+3.2 %", "-", "", None, "+1e-05"]
    assert csv_text(["a"], [cells]) == "a\n-1,-0.5,1e-300,-1.5,+3.2 %,-,,,+1e-05\n"
    assert csv_text(["a\r\n=1"], []) == "a\\r\\n=1\n"
    assert csv_text(["caf\udce9"], []) == "caf\\udce9\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("a|b", r"a\|b"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("_a_ my_photos **b**", r"\_a\_ my_photos \*\*b\*\*"),
        ("# a\n# b", r"\# a\\n\# b".replace("\\\\n", "\\\\n")),
        ("&lt; $x$ <= 3", r"\&lt; \$x\$ <= 3"),
        ("fashion-mnist-12k", "fashion-mnist-12k"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name, shown):
    assert markdown(name) == shown


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a", "`a`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a\n\nb", r"`a\n\nb`"),
        ("``` x", "```` ``` x ````"),
    ],
)
def test_code_in_a_line_is_not_left_by_what_is_in_it(text, span):
    assert code_span(text) == span


def test_dollars_are_no_formula_in_a_plot():
    assert plot_text("$\\frac$ b") == r"\$\frac\$ b"
