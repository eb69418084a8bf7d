"""Names are data: write them where some characters would mean something.

Names of classes, files, decisions and runs come from users and from folders they were given. Each
place that gives characters a meaning (a terminal, a spreadsheet, Markdown, a plot) has one function
here.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "code_span",
    "csv_text",
    "json_text",
    "markdown",
    "plot_text",
    "printable",
    "printable_lines",
    "resume_command",
    "unwritable",
]

# Control characters, line separators, marks that reverse the direction of what follows, and bytes
# of a file name that are not UTF-8 (surrogates).
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = tuple("=+-@\t\uff1d\uff0b\uff0d\uff20")  # the last four are full-width = + - @
_NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?( ?%)?", re.IGNORECASE)
# Inside a word, an underscore is no markup.
_MARKDOWN = re.compile(r"([\\`*\[\]#|~$&]|<(?=[A-Za-z/!?])|\b_|_\b)")


def printable(name: str) -> str:
    r"""Return a name with everything escaped that would control a terminal, line breaks included.

    Example:
        >>> print(printable("red \x1b[31m shoe\n"))
        red \x1b[31m shoe\n
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def printable_lines(text: str) -> str:
    """Return lines of text in which only the line breaks control a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def unwritable(name: str) -> str | None:
    r"""Return why a name cannot stand in files, tables and messages; None if it can.

    Example:
        >>> unwritable("shoe [left]"), unwritable("a\nb")
        (None, "has the character '\\n'")
    """
    for letter in name:
        kind = unicodedata.category(letter)
        if kind == "Cs":
            return "is not UTF-8"
        if kind in ("Cc", "Zl", "Zp"):  # controls, line and paragraph separators
            return f"has the character {letter!r}"
    return None


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return a table as CSV, in which no spreadsheet finds a formula.

    A text that looks like one gets an apostrophe in front, which spreadsheets take for "this is
    text".

    Example:
        >>> csv_text(["network", "change"], [["=cmd()", -0.5]])
        "network,change\n'=cmd(),-0.5\n"
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in [columns, *rows])
    return stream.getvalue()


def json_text(content: Any, indent: int | None = None) -> str:
    """Return plain data as JSON with null for NaN and infinity, which JSON lacks.

    Example:
        >>> json_text({"log_prob": -math.inf, "score": 0.5})
        '{"log_prob": null, "score": 0.5}'
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def markdown(name: str) -> str:
    r"""Return a name as Markdown shows it: no markup, HTML or line breaks.

    Example:
        >>> markdown("shoe_[left]")
        'shoe\\_\\[left\\]'
    """
    return _MARKDOWN.sub(r"\\\1", printable(name))


def code_span(text: str) -> str:
    """Return a text as code in a line of Markdown.

    Example:
        >>> code_span("a`b")
        '``a`b``'
    """
    shown = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def plot_text(name: str) -> str:
    r"""Return a name as Matplotlib shows it, which takes dollar signs for formulas.

    Example:
        >>> plot_text("$5")
        '\\$5'
    """
    return printable(name).replace("$", r"\$")


def resume_command(folder: str | Path) -> str:
    """Return the command that goes on with a folder, quoted for a shell.

    Example:
        >>> resume_command("runs/my pets")
        "ddpnas resume 'runs/my pets'"
    """
    return f"ddpnas resume {shlex.quote(str(folder))}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    formula = text.startswith(_FORMULA) and len(text) > 1 and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text
