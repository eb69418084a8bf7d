"""The code, the commands and the format in docs/costs.md are what the package takes."""

import re
import runpy
from pathlib import Path

import pytest

from ddpnas import CostTable
from ddpnas.cli.parser import parse

PAGE = (Path(__file__).parents[1] / "docs" / "costs.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_code_runs_and_prints_every_cost(code, tmp_path, capsys):
    (tmp_path / "page.py").write_text(code)
    runpy.run_path(str(tmp_path / "page.py"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("macs", "params", "size_bytes", "activation_bytes"))


def test_the_commands_are_such_that_the_parser_takes():
    commands = re.findall(r"^ddpnas ([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) == 6
    for words in commands:
        parse(words.split())


def test_the_format_is_read_and_both_choices_are_needed_for_a_term_of_two(tmp_path):
    (tmp_path / "energy.json").write_text(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    table = CostTable.load(tmp_path / "energy.json")
    architecture = {"block1": "conv5", "block2": "bottleneck", "width": "8"}
    assert table.cost(architecture) == pytest.approx(0.8 + 0.77 + 0.2)
    assert table.cost({**architecture, "width": "4"}) == pytest.approx(0.8 + 0.77)
