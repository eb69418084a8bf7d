"""What the site is made of: the repository's own pages at their own paths, and the command line's.

mkdocs knows one folder of pages; here it is the repository, of which PAGES are taken, so that
relative links and pictures are the same in both. `docs/commands.md` exists in the site only: it is
written from the parser.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from ddpnas.cli._options import dashed
from ddpnas.cli.parser import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = (
    "*.md",
    "LICENSE",
    "CITATION.cff",
    "docs/**/*.md",
    "docs/**/*.svg",
    "records/**/*",
    "examples/*",
    "src/ddpnas/**/*.py",
    "src/ddpnas/*/embedded/README.md",
)

INTRODUCTION = """# Command line

Made from the parser; `ddpnas COMMAND --help` says the same. `ddpnas search --print-config` prints
its options as the YAML that `--config` takes. Where no default stands it is None, or "off"."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of the docs folder by the pages of the repository."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted({path for pages in PAGES for path in ROOT.glob(pages) if path.is_file()}):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    files.append(File.generated(config, "docs/commands.md", content=commands_page()))
    return files


def commands_page() -> str:
    """Return the page of all commands and their options, as Markdown."""
    parts = [INTRODUCTION]
    for name, (make, _) in COMMANDS.items():
        parser = dashed(make())
        parts.append(f"## ddpnas {name}\n\n{_sentence(parser.description)}")
        parts += _groups(parser)
    return "\n\n".join(parts) + "\n"


def _groups(parser: ArgumentParser) -> list[str]:
    parts = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if action.dest in ("help", "print_config"):
                continue
            names = action.option_strings or [action.metavar or action.dest]
            shown = " ".join(f"`{name}`" for name in names)
            if action.choices:
                shown += f" {', '.join(map(str, action.choices))}"
            rows.append(f"| {shown} | {_sentence(action.help)} | {_default(action.default)} |")
        if rows:
            if group.title not in ("positional arguments", "options"):
                parts.append(f"**{group.title}**")
            kind = "option" if group._group_actions[0].option_strings else "argument"
            parts.append("\n".join([f"| {kind} | what | default |", "| --- | --- | --- |", *rows]))
    return parts


def _sentence(text: str | None) -> str:
    return " ".join((text or "").replace("|", r"\|").split())


def _default(value: object) -> str:
    if value is None or value is False or value in ([], {}, "==SUPPRESS=="):
        return ""
    return f"`{str(value).lower() if value is True else value}`"
