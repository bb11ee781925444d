"""Write the report of a run: one HTML file."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import machine
from ..answers import Answer
from ..config import Gigabytes, Workers
from ..data.images import Images
from ..errors import DamagedError, DataError, InputError
from ..files.atomic import write_text
from ..files.caches import cache_folder
from ..files.paths import Data, shell_quoted
from ..files.text import printable
from ..log import Begin, in_steps, info, warning
from ..reports.facts import RunFacts, read_run
from ..reports.kept import Kept, load_kept, save_kept
from ..runs.folder import REPORT
from ..runs.records import run_record
from .collection import open_run_images
from .entry import runs_alone
from .report_encoding import Encoding

STEPS = {
    "images": 0,
    "pictures of the map": 5,
    "features": 15,
    "clusters": 40,
    "pictures of clusters": 55,
    "measures": 65,
    "page": 80,
}  # of a report, and the percent at which each begins


@dataclass(frozen=True)
class ReportAnswer(Answer):
    """The answer of `report`: the file, its size in bytes, and the number of images in its sample."""

    file: str
    bytes: int
    images: int


@runs_alone
def report(
    run: str | Path,
    *,
    whiten: bool = True,
    data: Data | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> ReportAnswer:
    """Write RUN/report.html: what was done, the map, the clusters, the collection, the curves and the scores.

    What it shows of the images is kept in RUN/report, and used again as long as no stage changes. `data` says where the
    images lie now; they are then read again. Features are compared whitened, unless whiten=False. Without the images the report has no pictures, and says so.
    """
    folder = Path(run)
    run_record(folder)
    facts = read_run(folder)
    kept = None if data else _kept(facts, whiten)
    with in_steps("report", STEPS) as begin:
        if kept is None:
            kept = _collect_again(facts, data, cache_folder(cache), cache_gb, workers, begin, whiten)
        return _write(facts, kept, begin)


def report_at_end(folder: Path, images: Images, chosen: machine.Machine, cache: Path, cache_gb: float) -> None:
    """Write the report of a run that was just done; a failure is a warning."""
    with warn_of_failure(folder):
        facts = read_run(folder)
        with in_steps("report", STEPS) as begin:
            kept = _kept(facts) or _collect(facts, Encoding(images, chosen, cache, cache_gb), begin)
            answer = _write(facts, kept, begin)
        info(f"report: {printable(answer.file)}, to open in a browser")


@contextlib.contextmanager
def warn_of_failure(run: Path) -> Iterator[None]:
    """Log a warning in place of any exception of the block, which makes a report: the run is done all the same."""
    try:
        yield
    except Exception as error:  # whatever it is, nothing of the run is lost
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        warning(
            f"the report could not be made ({printable(why)}); to try again type: divcon report {shell_quoted(run)}"
        )


def _write(facts: RunFacts, kept: Kept | None, begin: Begin) -> ReportAnswer:
    begin("page")
    from ..reports.report import draw_report

    file = facts.folder / REPORT
    write_text(file, draw_report(facts, kept))
    return ReportAnswer(str(file), file.stat().st_size, len(kept.record.paths) if kept else 0)


def _kept(facts: RunFacts, whiten: bool = True) -> Kept | None:
    """The content of RUN/report, if it is of the stages that are there now, and compares features in this way."""
    try:
        kept = load_kept(facts.folder)
    except DamagedError as error:
        warning(f"{error}. The report collects it again")
        return None
    wanted = facts.state_digest, whiten
    return kept if kept is not None and (kept.record.of, kept.record.whiten) == wanted else None


def _collect_again(
    facts: RunFacts,
    data: Data | None,
    cache: Path,
    cache_gb: float,
    workers: int | None,
    begin: Begin,
    whiten: bool,
) -> Kept | None:
    """Collect what the report shows; where the images are not, without pictures."""
    try:
        images = open_run_images(facts.folder, data, cache=cache, workers=workers)
        encoding = Encoding(images, machine.choose(cache, workers=workers), cache, cache_gb)
        return _collect(facts, encoding, begin, whiten=whiten)
    except (InputError, DataError) as error:
        if data or isinstance(error, DamagedError):
            raise
        info(f"the report has no pictures: {error}")
        return _collect(facts, None, begin, str(error), whiten)


def _collect(
    facts: RunFacts, encoding: Encoding | None, begin: Begin, missing: str = "", whiten: bool = True
) -> Kept | None:
    """Collect what the report shows, and keep it if the images were there; None without an index of the collection."""
    from .report_collection import Collector

    index = encoding.images.index if encoding is not None else facts.index
    if index is None or not index.used:
        return None
    kept = Collector(facts, index, encoding, missing, begin, whiten).collect()
    if encoding is not None:
        save_kept(facts.folder, kept)
    return kept
