"""Write the report of a run: one HTML file."""

from dataclasses import dataclass
from pathlib import Path

from .. import machine
from ..config import Gigabytes, Workers
from ..errors import DamagedError, DataError, InputError
from ..files.atomic import write_text
from ..files.caches import cache_folder
from ..files.paths import Data
from ..log import info, warning
from ..reports.facts import RunFacts, read_run
from ..reports.kept import Kept, load_kept, save_kept
from ..runs.folder import REPORT
from ..runs.records import run_record
from .collection import open_run_images
from .entry import runs_alone


@dataclass(frozen=True)
class Reported:
    """The answer of `report`: the file, its size in bytes, and the number of images on its map."""

    file: Path
    bytes: int
    images: int


@runs_alone
def report(
    run: str | Path,
    *,
    data: Data | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> Reported:
    """Write RUN/report.html: what was done, the map, the clusters, the collection, the curves and the scores.

    What it shows of the images is kept in RUN/report, and used again as long as no stage changes. `data` says where the
    images lie now; they are then read again. Without the images the report has no pictures, and says so.
    """
    from ..reports.report import draw_report

    folder = Path(run)
    run_record(folder)
    facts = read_run(folder)
    kept = None if data else _kept(facts)
    if kept is None:
        kept = _collect(facts, data, cache_folder(cache), cache_gb, workers)
    file = folder / REPORT
    write_text(file, draw_report(facts, kept))
    return Reported(file, file.stat().st_size, len(kept.record.paths) if kept else 0)


def _kept(facts: RunFacts) -> Kept | None:
    """What RUN/report has, if it is of the stages that are there now."""
    try:
        kept = load_kept(facts.folder)
    except DamagedError as error:
        warning(f"{error}. The report collects it again")
        return None
    return kept if kept is not None and kept.record.of == facts.state_digest else None


def _collect(facts: RunFacts, data: Data | None, cache: Path, cache_gb: float, workers: int | None) -> Kept | None:
    """Collect what the report shows, and keep it if the images were there; None without an index of the collection."""
    from .report_collection import Collector
    from .report_encoding import Encoding

    encoding, missing = None, ""
    try:
        images = open_run_images(facts.folder, data, cache=cache, workers=workers)
        encoding = Encoding(images, machine.choose(cache, workers=workers), cache, cache_gb)
    except (InputError, DataError) as error:
        if data:
            raise
        missing = str(error)
        info(f"the report has no pictures: {missing}")
    index = encoding.images.index if encoding is not None else facts.index
    if index is None or not index.used:
        return None
    kept = Collector(facts, index, encoding, missing).collect()
    if encoding is not None:
        save_kept(facts.folder, kept)
    return kept
