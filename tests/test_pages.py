"""Every block of code and every command on a page works as it stands.

The pages are README.md and its neighbors, and all of docs/ and records/. Rules for their writers:

- Python blocks of a page run in order and share their names. A block that begins with
  ``# NAME.py`` is also saved under that name, so that later blocks can import it.
- If a block has comments behind its calls of ``print``, they must be what it prints, with ``...``
  for anything, as in doctests.
- A class called ``Test...`` is run as pytest would run it.
- A command is a line of a block, or a piece of inline code, that begins with ``ddpnas``. Options
  must exist and their values must have the right type; folders of runs need not exist.
- JSON blocks must be valid. One that has ``terms`` must be a table of costs.
"""

import doctest
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from ddpnas import CostTable
from ddpnas.cli.parser import parse
from ddpnas.evaluators import shared_weights

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for where in ("*.md", "docs/**/*.md", "records/*.md") for page in ROOT.glob(where)
)
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}


def blocks(text, language=r"\w*"):
    """Return the content of a page's fenced blocks."""
    found = re.finditer(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [match[2] for match in found]


def pages_with(language):
    return [name for name, text in TEXTS.items() if blocks(text, language)]


def commands(text):
    """Return the words of each command on a page, without the ``ddpnas`` in front."""
    fenced = "\n".join(blocks(text)).replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?ddpnas ([a-z][^\n]*)$", fenced, re.MULTILINE)
    inline = re.findall(r"`ddpnas ([a-z]+ [^`]+)`", text)
    return [shlex.split(words, comments=True) for words in lines + inline]


@pytest.mark.parametrize(
    ("page", "least"), [("README.md", 3), ("AGENTS.md", 10), ("docs/own-images.md", 10)]
)
def test_the_commands_of_a_page_are_found(page, least):
    assert len(commands(TEXTS[page])) >= least


@pytest.mark.parametrize("page", TEXTS)
def test_commands_are_ones_that_the_parser_accepts(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands(TEXTS[page]):
        for run in re.findall(r"\bruns/[\w-]+", " ".join(words)):
            Path(run).mkdir(parents=True, exist_ok=True)
            Path(run, "config.yaml").write_text("seed: 0\n")
        parse(words)
    for module in re.findall(r"python -m (benchmarks(?:\.\w+)+)", TEXTS[page]):
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run_and_print_what_they_say(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(shared_weights, "WARMUP_STEPS", 100)
    names = {"__name__": "page"}
    for number, code in enumerate(blocks(TEXTS[page], "python")):
        named = re.match(r"# (\w+\.py)\n", code)
        file = Path(named[1] if named else f"block{number}.py")
        file.write_text(code)
        few = code.replace('"fashion-mnist-12k")', '"fashion-mnist-12k", limit_train_images=200)')
        exec(compile(few, file, "exec"), names)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        said = re.findall(r"print\(.*\)  # (.*)", code)
        assert len(printed) == len(said) or not said, code
        for want, got in zip(said, printed, strict=False):
            assert doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS), got
    for name, value in list(names.items()):
        if name.startswith("Test"):
            contract = value()
            for test in [test for test in dir(contract) if test.startswith("test_")]:
                getattr(contract, test)()


@pytest.mark.parametrize("page", pages_with("json"))
def test_json_blocks_are_what_the_package_reads(page):
    for block in blocks(TEXTS[page], "json"):
        value = json.loads(block)
        if "terms" in value:
            assert CostTable.from_dict(value).terms
