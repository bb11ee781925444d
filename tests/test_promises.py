"""docs/promises.md promises nothing that is not tested."""

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
    """Every test there is, by file and name."""
    found = set()
    for file in (ROOT / "tests").glob("test_*.py"):
        found |= {
            (file.name, node.name) for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)
        }
    return found


PROMISES = [
    line for line in TEXT.split("## Promises")[1].split("\n## ")[0].splitlines() if re.match(r"\| \d+ \|", line)
]


@pytest.mark.parametrize("line", PROMISES, ids=lambda line: line[:40])
def test_every_promise_names_a_test(line: str) -> None:
    assert NAMED.search(line)


def test_every_test_that_is_named_exists() -> None:
    there = defined()
    names = NAMED.findall(TEXT)
    assert len(names) > 40
    assert [(file, name) for file, name in names if not any((file or f, name) == (f, n) for f, n in there)] == []


def test_every_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) <= targets


def test_every_reason_is_documented() -> None:
    files = (ROOT / "docs/files.md").read_text()
    walked = {"permission_denied", "dangling_link", "not_a_regular_file", "io_error"}
    reasons = {row.reason for row in ROWS if row.reason} | walked
    assert {reason for reason in reasons if f"`{reason}`" not in files or f"`{reason}`" not in TEXT} == set()
    assert f"{checked_image.MAX_PIXELS // 10**6} million" in TEXT
