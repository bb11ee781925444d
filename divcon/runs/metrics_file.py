"""metrics.jsonl has a line for each logged step, with a checksum. A resume cuts it back to the step of the checkpoint."""

import contextlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_write
from ..files.disk_errors import disk_errors
from ..files.regular import read_regular_file
from ..files.text import printable
from ..log import warning

CHECKED = re.compile(r'(.*), "crc": (\d+)\}')


class MetricsFile:
    """The file while it is written: lines of steps before `first` are kept; the others will be written again."""

    def __init__(self, path: Path, first: int):
        self.path = path
        self.kept = [line for line in read_lines(path) if line["step"] < first]
        self.last = self.kept[-1] if self.kept else {}

    def cut(self) -> None:
        """Remove the lines that will be written again."""
        with atomic_write(self.path) as part:
            part.write_text("".join(f"{_checked(line)}\n" for line in self.kept))

    def write(self, line: dict[str, Any]) -> None:
        with disk_errors(self.path), self.path.open("a") as file:
            file.write(_checked(line) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of the file. A last line that a kill cut short is left out; so is a damaged line, with a warning."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        text = _text(path)
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                found.append(_read(line))
            except (ValueError, RecursionError) as error:
                warning(f"{printable(path)}, line {number}, is damaged ({error}) and left out")
    return found


def _text(path: Path) -> str:
    try:
        return read_regular_file(path).decode("utf-8", "replace")
    except ValueError as error:
        warning(f"{printable(path)} is damaged ({error}) and left out")
        return ""


def _checked(line: dict[str, Any]) -> str:
    text = json.dumps(line)
    return f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}'


def _read(text: str) -> dict[str, Any]:
    """A line without its checksum; ValueError, if the checksum is wrong."""
    match = CHECKED.fullmatch(text)
    if match is None:
        raise ValueError("no checksum at its end")
    found = zlib.crc32(f"{match[1]}}}".encode())
    if found != int(match[2]):
        raise ValueError(f"expected crc {match[2]}, found {found}")
    line: dict[str, Any] = json.loads(f"{match[1]}}}")
    if not isinstance(line.get("step"), int):
        raise ValueError("no step in it")
    return line
