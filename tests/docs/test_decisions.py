"""Decision records have one format, numbers without gaps, and an index that names each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Measured", "Alternatives", "Consequences"]
HEAD = re.compile(
    r"# (\d{4}): (?P<title>.+)\n\n"
    r"- Date: (?P<date>\d{4}-\d\d-\d\d)(, corrected \d{4}-\d\d-\d\d)?\n"
    r"- Status: (?P<status>accepted|superseded by \[(?P<by>\d{4})\]\((?P<link>[\w-]+\.md)\))",
)


def head(record: Path) -> re.Match[str]:
    found = HEAD.match(record.read_text())
    assert found, f"{record.name} does not begin with a title, a date and a status"
    return found


def test_numbers_have_no_gaps():
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_begins_with_title_date_and_status(record):
    found = head(record)
    assert found[1] == record.name[:4]
    if found["by"]:
        assert found["link"].startswith(found["by"]) and (FOLDER / found["link"]).exists()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_the_sections_in_order_and_says_how_it_could_be_wrong(record):
    sections = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
    known = [section for section in sections if section in SECTIONS]
    assert known == [section for section in SECTIONS if section in known]
    assert {"Context", "Decision", "Consequences"} <= set(known) and sections[-1] == "Consequences"
    assert record.read_text().rstrip().rpartition("\n\n")[2].startswith("**We would know it was wrong if**")


def test_the_index_names_every_record_with_its_title_date_and_status():
    row = re.compile(r"^\| \[(\d{4})\]\(([\w.-]+)\) \| (.+) \| ([\d-]+) \| (.+) \|$", re.MULTILINE)
    rows = {link: (number, title, date, status) for number, link, title, date, status in row.findall(read_index())}
    assert sorted(rows) == [record.name for record in RECORDS]
    for record in RECORDS:
        found = head(record)
        number, title, date, status = rows[record.name]
        assert (number, title, date) == (found[1], found["title"], found["date"])
        assert status.startswith(f"superseded by {found['by']}" if found["by"] else "accepted")


def read_index() -> str:
    return (FOLDER / "README.md").read_text()
