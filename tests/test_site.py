"""The site builds without a warning, has every name and command, and fetches nothing."""

import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import ddpnas
from ddpnas.cli.parser import COMMANDS

ROOT = Path(__file__).parents[1]


def test_the_site_builds_with_every_name_and_command_and_fetches_nothing(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = {page: page.read_text() for page in tmp_path.rglob("*.html")}
    heading = re.compile(r'doc-(?:object-name[^>]*|heading")>\s*(?:ddpnas\.)?(?:\w+\.)*(\w+)')
    reference = {page: text for page, text in pages.items() if page.parent.name == "api"}
    headings = {page.stem: set(heading.findall(text)) for page, text in reference.items()}
    public = {module.name for module in pkgutil.iter_modules(ddpnas.__path__)}
    assert set(headings) == public - {"utils", "cli", "__main__", "_version"}
    for room, shown in headings.items():
        module = importlib.import_module(f"ddpnas.{room}")
        names = {name for name in module.__all__ if callable(getattr(module, name))}
        assert names - shown <= {"nearest"}, f"docs/api/{room}.md"
    assert set(ddpnas.__all__) - set().union(*headings.values()) <= {"__version__", *headings}
    commands = pages[tmp_path / "docs" / "commands.html"]
    assert set(re.findall(r'<h2 id="ddpnas-(\w+)"', commands)) == set(COMMANDS)
    for text in pages.values():
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="?(?:https?:)?//', text)


def test_pictures_are_those_that_the_script_draws():
    for name, text in runpy.run_path(str(ROOT / "docs" / "figures.py"))["files"]().items():
        assert (ROOT / "docs" / name).read_text() == text, "python docs/figures.py"
