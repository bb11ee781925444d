"""Open the images of a run again."""

from pathlib import Path
from typing import Any

from ..config import Workers
from ..data.images import Images, open_images
from ..errors import DataError, InputError
from ..files.paths import Data, printable_data, shell_quoted
from ..files.text import printable
from ..runs.folder import RunFolder
from ..runs.records import RunRecord, run_record

# The options that decide which images of DATA a run uses.
SELECTION = ("include", "exclude", "near_duplicates", "limit")


def open_run_images(run: Path, data: Data | None = None, *, cache: Path, workers: Workers | None = None) -> Images:
    """Return the images of a run, from where they lay when it was begun, or from `data` if they have moved.

    Raises InputError where they are not there, and DataError where other images are.
    """
    record = run_record(run)
    place = data or record.data
    if not place:
        raise InputError(f"{printable(run)} does not say where its images lie; type data=FOLDER")
    try:
        known = RunFolder(run).images
        images = open_images(place, **selection(record), cache=cache, workers=workers, known=known)
    except InputError as error:
        if data:
            raise
        raise InputError(
            f"the images of {printable(run)} were in {printable_data(place)}: {error}. If they have moved, type data=FOLDER"
        ) from error
    if images.fingerprint != record.images:
        raise DataError(
            f"{printable_data(place)} does not hold the images of {shell_quoted(run)}: that run used {record.used:,} images, and "
            f"{len(images):,} can be used here, or others. Bring the old ones back, or name their folder by data=FOLDER"
        )
    return images


def selection(record: RunRecord) -> dict[str, Any]:
    """Return the arguments of `open_images` with which a run selected its images."""
    return {name: record.options[name] for name in SELECTION if name in record.options}
