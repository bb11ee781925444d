"""metrics.jsonl: a line each logged step. A resume cuts it back to the checkpoint's step."""

import contextlib
import json
from pathlib import Path
from typing import Any

from ..artifacts import disk, whole


class Journal:
    """Lines of steps before `first` are kept; the others will be written again."""

    def __init__(self, path: Path, first: int):
        self.path = path
        kept = [json.dumps(line) for line in lines(path) if line["step"] < first]
        with whole(path) as part:
            part.write_text("".join(f"{line}\n" for line in kept))

    def write(self, line: dict[str, Any]) -> None:
        with disk(self.path), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; one that a kill cut short is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for text in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found
