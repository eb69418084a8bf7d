"""The code of the README, run as it stands but for the number of images and of steps."""

import re
import runpy
from pathlib import Path

import pytest

from ddpnas.cli.parser import parse
from ddpnas.evaluators import shared_weights

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="not in a checkout")


def test_the_own_space_and_the_python_example_run(tmp_path, monkeypatch, capsys):
    space, example = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert space.startswith("# my_space.py\n")
    (tmp_path / "my_space.py").write_text(space)
    reduced = example.replace('"fashion-mnist-12k"', '"fashion-mnist-12k", limit_train_images=200')
    (tmp_path / "example.py").write_text(reduced)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared_weights, "_STEPS", 100)
    runpy.run_path("example.py")
    assert 0 < float(capsys.readouterr().out) < 1


def test_every_command_in_readme_and_docs_is_one_that_the_parser_takes(tmp_path, monkeypatch):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.yaml").write_text("seed: 0\n")
    pages = [README, *sorted((ROOT / "docs").glob("*.md"))]
    text = "".join(page.read_text() for page in pages)
    text = text.replace("\\\n", " ")  # commands that go on in the next line
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"^ddpnas ((?!:).+)$|`ddpnas ([a-z]+ [^`]+)`", text, flags=re.MULTILINE)
    commands = [(line or inline).split("#")[0].split() for line, inline in found]
    assert len(commands) >= 8
    for words in commands:
        parse(words)
