"""Rows: a file for each run that was done, in studies/rows/STUDY/. Files of several machines lie side by side, so that joining
them needs no hand; each is under a seal, so that a torn one, or one with a number typed by hand, counts for nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divcon.config import to_json_value, validate_fields
from divcon.errors import Error
from divcon.files.integrity import digest, read_json, write_json
from divcon.files.text import printable

from .table import Run


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run's scores, and all that has to be known to compare them with another's."""

    study: str
    run: str
    part: str  # of the images, that the scores are of
    asked: dict[str, Any]
    collection: dict[str, Any]  # its fingerprint and how many images were used
    shown: dict[str, int]  # images, by stage; "all": the whole budget, a shared base included
    seconds: dict[str, float]  # the same
    # the base that other runs use too: what of `shown` and `seconds` is its; empty where there is none
    shared: dict[str, Any]
    beside: dict[str, Any]  # how idle the machine was
    arithmetic: dict[str, Any]  # what the run chose by measuring
    processor: dict[str, Any]
    place: str
    code: str
    commit: dict[str, Any]
    versions: dict[str, str]
    date: str
    scores: dict[str, dict[str, Any]]  # of "final", and "base" where that is another encoder

    @property
    def group(self) -> str:
        """Rows are compared within it only: one processor, one kind of arithmetic, one code and libraries, the same images."""
        same = self.processor["id"], self.arithmetic, self.code, self.collection
        return digest(json.dumps(same, sort_keys=True))

    @property
    def taken(self) -> str:
        return str(self.beside["taken"])

    def file(self) -> str:
        """Unlike that of any other machine's, code's, or part's row."""
        return f"{self.run}.{self.part}.{self.processor['id']}.{self.place}.{self.code}.json"


@dataclass(frozen=True)
class Rows:
    """Those that can be read, and what is wrong with each other file."""

    rows: Sequence[Row]
    wrong: Sequence[str]

    @classmethod
    def read(cls, folder: Path) -> "Rows":
        rows, wrong = [], []
        for path in sorted(folder.glob("*.json")):
            try:
                row = validate_fields(Row, read_json(path))
                if row.study != folder.name:
                    raise ValueError(f"it is of study {printable(row.study)}")
                if row.file() != path.name:
                    raise ValueError(f"it is {printable(row.file())} by what is in it")
                rows.append(row)
            except (Error, ValueError, KeyError, TypeError) as error:
                wrong.append(f"{printable(path.name)}: {error}")
        return cls(rows, wrong)

    def has(self, run: Run, part: str, code: str, processor: str) -> bool:
        """True if this was done by this code on a processor like this one, here or elsewhere, and written down."""
        return any(
            (row.run, row.part, row.code, row.processor["id"]) == (run.name, part, code, processor)
            and alike(row.asked, run.asked)
            for row in self.rows
        )


def alike(asked: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return json.dumps(to_json_value(asked), sort_keys=True) == json.dumps(to_json_value(now), sort_keys=True)


def keep(folder: Path, row: Row) -> Path:
    path = folder / row.file()
    write_json(path, to_json_value(row))
    return path
