"""The code of docs/spaces.md runs and prints what it says."""

import re
import runpy
from pathlib import Path

import pytest

from ddpnas.cli.parser import parse

PAGE = Path(__file__).parents[1] / "docs" / "spaces.md"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_code_runs_and_prints_what_its_comment_says(code, tmp_path, capsys):
    (tmp_path / "page.py").write_text(code)
    runpy.run_path(str(tmp_path / "page.py"))
    said = re.findall(r"print\(.*\)  # (.*)", code)
    assert capsys.readouterr().out.splitlines() == said


def test_the_commands_are_such_that_the_parser_takes():
    commands = re.findall(r"`ddpnas (spaces[^`]*)`", PAGE.read_text())
    assert len(commands) == 3
    for words in commands:
        parse(words.split())
