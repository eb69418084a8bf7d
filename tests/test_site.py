"""The site builds without a warning, has every name and command, and fetches nothing."""

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
    reference = "".join(text for page, text in pages.items() if page.parent.name == "api")
    headings = set(
        re.findall(r'doc-(?:object-name[^>]*|heading")>\s*(?:ddpnas\.)?(\w+)', reference)
    )
    assert set(ddpnas.__all__) - headings == {"__version__"}
    commands = pages[tmp_path / "docs" / "commands.html"]
    assert set(re.findall(r'<h2 id="ddpnas-(\w+)"', commands)) == set(COMMANDS)
    for text in pages.values():
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="?(?:https?:)?//', text)
