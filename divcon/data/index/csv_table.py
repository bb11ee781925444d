"""Tables of files that open anywhere, and are safe in a terminal and in a spreadsheet."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...files import atomic
from ...files.text import printable

FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # a spreadsheet computes such a cell; the last four are full-width


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[bytes | str]]) -> None:
    """Write the rows below the header, in UTF-8; the file appears whole or not at all."""
    with atomic.atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(cell) for cell in row] for row in rows)


def _cell(value: bytes | str) -> str:
    """Return printable text that is no formula: with `./` before it, a relative path is still the same path."""
    text = printable(value)
    return f"./{text}" if text.startswith(FORMULA) else text
