"""Write the report of a run: one HTML file."""

from dataclasses import dataclass
from pathlib import Path

from ..files.atomic import write_text
from ..files.paths import Data
from ..files.text import printable
from ..runs.records import run_record
from .entry import runs_alone

REPORT = "report.html"


@dataclass(frozen=True)
class Reported:
    """The answer of `report`: the file, and its size in bytes."""

    file: Path
    bytes: int


@runs_alone
def report(run: str | Path, *, data: Data | None = None) -> Reported:
    """Write RUN/report.html: what was done, the map, the clusters, the collection, the curves and the scores.

    `data` says where the images of the run lie now, if they were moved.
    """
    from ..reports.page import Page, render

    folder = Path(run)
    run_record(folder)
    file = folder / REPORT
    write_text(file, render(Page(printable(folder.resolve().name), None)))
    return Reported(file, file.stat().st_size)
