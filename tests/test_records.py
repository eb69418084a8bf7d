"""The records: one table of claims, whose pages and raw figures exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "records"
pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="not in a checkout")
COLUMNS = ["claim", "value", "n", "spread", "hardware", "date", "command", "raw figures"]


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_every_claim_has_all_columns():
    lines = [line for line in (RECORDS / "README.md").read_text().splitlines() if line[:1] == "|"]
    header, _, *rows = map(_cells, lines)
    assert header == COLUMNS
    for row in rows:
        assert len(row) == len(COLUMNS), row[0]
        topic = re.fullmatch(r"\*\*\[.+\]\(.+\.md\)\*\*", row[0])
        assert topic or all(row), row[0]


def test_every_raw_file_is_named_and_every_named_file_exists():
    named = set()
    for page in RECORDS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (RECORDS / link).exists(), f"{page.name}: {link}"
            named.add(link)
            inside = (RECORDS / link).parent.iterdir() if link.endswith("/README.md") else []
            named |= {p.relative_to(RECORDS).as_posix() for p in inside}
    files = {p.relative_to(RECORDS).as_posix() for p in RECORDS.rglob("*") if p.is_file()}
    assert files - named == {"README.md"}
