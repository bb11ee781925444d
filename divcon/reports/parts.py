"""The parts of a page: tables, plots, and galleries of pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table; `more` says what was left out, and where it is."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot with its numbers. `about` is read to those who can't see it."""

    title: str
    about: str
    svg: Markup
    table: Table


@dataclass(frozen=True)
class Picture:
    """A picture with its path and a note; `webp` is None where the picture was not kept."""

    path: str
    note: str = ""
    webp: bytes | None = None

    @property
    def source(self) -> str:
        """The address of the picture, which holds the picture itself."""
        return f"data:image/webp;base64,{base64.b64encode(self.webp or b'').decode()}"


@dataclass(frozen=True)
class Gallery:
    """Pictures under a title; `more` says how many are not shown."""

    title: str
    pictures: Sequence[Picture]
    more: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the summary: a verdict in a word (ok, look, missing), a subject, and a sentence."""

    verdict: str
    subject: str
    text: str


@dataclass(frozen=True)
class Section:
    """A section of the page: paragraphs, then plots, tables and galleries. Groups are sections below it."""

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    galleries: Sequence[Gallery] = ()
    groups: Sequence["Section"] = field(default_factory=tuple)


def share(value: float | None) -> str:
    """A share in 0..1 as a percentage."""
    return "-" if value is None else f"{value:.1%}"


def decimals(value: object, digits: int = 3) -> str:
    """A number of metrics.jsonl with some digits; "-" for anything else."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def duration(seconds: float) -> str:
    """Seconds as people say them: 48 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def capped(rows: Sequence[Sequence[Cell]], most: int, where: str) -> tuple[Sequence[Sequence[Cell]], str]:
    """Return the first rows, and how many more there are and where they are listed."""
    more = len(rows) - most
    return rows[:most], f"and {more:,} more: {where}" if more > 0 else ""
