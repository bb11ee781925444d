"""docs/promises.md makes no promise without a test."""

import ast
import re
from pathlib import Path

import pytest
from test_inputs import ROWS

from divcon.data.decoding import checked_image

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/promises.md").read_text()
NAMED = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")


def defined() -> set[tuple[str, str]]:
    """All tests, by file and name."""
    found = set()
    for file in (ROOT / "tests").glob("test_*.py"):
        found |= {
            (file.name, node.name) for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)
        }
    return found


def rows(section: str) -> list[str]:
    """The first cell of each row of a section's table."""
    table = re.findall(r"^\| ([\d, ]+) \|", text_of(section), re.MULTILINE)
    assert table
    return table


def text_of(section: str) -> str:
    """The text below a heading, up to the next heading of its level."""
    return TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]


def listed_in(section: str) -> dict[str, str]:
    """The lines with tests of each row of a section's table, by the row's first cell."""
    return dict(re.findall(r"^- (?:Promise|Code) ([\d, ]+):\n((?:  - .*\n)*)", text_of(section), re.MULTILINE))


@pytest.mark.parametrize("section", ["Promises", "Exit codes"])
def test_every_row_of_a_table_has_tests_and_no_test_lacks_a_row(section: str) -> None:
    assert list(listed_in(section)) == rows(section)
    assert [row for row, tests in listed_in(section).items() if not NAMED.search(tests)] == []


def test_no_row_of_a_table_is_longer_than_200_characters() -> None:
    assert [line for line in TEXT.splitlines() if line.startswith("|") and len(line) > 200] == []


def test_every_test_that_is_named_exists() -> None:
    tests = defined()
    names = NAMED.findall(TEXT)
    assert len(names) > 40
    assert [(file, name) for file, name in names if not any((file or f, name) == (f, n) for f, n in tests)] == []


def test_every_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) <= targets


def test_every_reason_is_documented() -> None:
    files = (ROOT / "docs/files.md").read_text()
    walked = {"permission_denied", "dangling_link", "not_a_regular_file", "io_error"}
    reasons = {row.reason for row in ROWS if row.reason} | walked
    assert {reason for reason in reasons if f"`{reason}`" not in files or f"`{reason}`" not in TEXT} == set()
    assert f"{checked_image.MAX_PIXELS // 10**6} million" in TEXT
