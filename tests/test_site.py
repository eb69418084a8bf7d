"""The site builds without a warning, has every name and command, and fetches nothing."""

import importlib
import pkgutil
import re
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
    names = re.compile(r'doc-(?:object-name[^>]*|heading")>\s*(?:ddpnas\.)?(?:\w+\.)*(\w+)')
    reference = {page: text for page, text in pages.items() if page.parent.name == "api"}
    headings = {page.stem: set(names.findall(text)) for page, text in reference.items()}
    public = {module.name for module in pkgutil.iter_modules(ddpnas.__path__)}
    assert set(headings) == public - {"utils", "cli", "__main__", "_version"}
    for room, shown in headings.items():
        lacking = set(importlib.import_module(f"ddpnas.{room}").__all__) - shown
        assert lacking <= {"nearest"}, f"docs/api/{room}.md"
    assert set(ddpnas.__all__) - set().union(*headings.values()) <= {"__version__", *headings}
    commands = pages[tmp_path / "docs" / "commands.html"]
    assert set(re.findall(r'<h2 id="ddpnas-(\w+)"', commands)) == set(COMMANDS)
    for text in pages.values():
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="?(?:https?:)?//', text)
