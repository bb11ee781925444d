"""The files that a verb is asked to write: refused before any work where they would replace what somebody needs."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data.sources.path_patterns import matching_paths
from ..errors import UsageError
from ..files.disk_errors import refuse_unwritable
from ..files.paths import Data, as_paths, shell_quoted
from ..files.text import printable
from ..runs.folder import RunFolder


def output_file(
    option: str,
    path: str | Path | None,
    suffixes: Sequence[str],
    *,
    data: Data = (),
    pictures: Sequence[Path] = (),
) -> Path | None:
    """Return the path of a file to write, or None if there is none; any other file with that name may be replaced.

    Raises UsageError for another suffix, for a path inside a run or inside the collection DATA, and for one of the
    `pictures` that the verb is asked about. Raises DiskError if no file can be written there.
    """
    if path is None:
        return None
    path = Path(path)
    if path.suffix not in suffixes:
        raise UsageError(f"{option}={printable(path)}: let the name end in {_listed(suffixes)}")
    refuse_unwritable(path)
    _refuse_pictures(option, path, pictures)
    _refuse_inside_run(option, path)
    refuse_inside_collection(option, path, data)
    return path


def output_folder(option: str, path: str | Path, *, data: Data = ()) -> Path:
    """Return the path of a folder to write. Raises UsageError for one inside a run or inside the collection DATA."""
    path = Path(path)
    _refuse_inside_run(option, path)
    refuse_inside_collection(option, path, data)
    return path


def refuse_inside_collection(option: str, path: Path, data: Data) -> None:
    """Raise UsageError if the file or folder to write lies inside DATA: the next scan would find it among the images."""
    for root in (Path(os.path.realpath(found)) for named in as_paths(data) for found in matching_paths(named)):
        if any(place.is_relative_to(root) for place in _places(path)):
            name = path.name if root not in _places(path) else f"{root.name}-{option}"
            raise UsageError(
                f"{option}={printable(path)} lies inside the collection, and would be one of its files the next time; "
                f"name a place outside {printable(root)}, like {option}={shell_quoted(root.parent / name)}"
            )


def _refuse_inside_run(option: str, path: Path) -> None:
    places = list(_places(path))
    runs = [folder for place in places for folder in (place, *place.parents) if RunFolder(folder).is_run]
    if runs:
        outermost = min(runs, key=lambda run: len(run.parts))
        outside = outermost.parent / (f"{outermost.name}-{option}" if outermost in places else path.name)
        raise UsageError(
            f"{option}={printable(path)} lies inside the run {printable(runs[0])}, and could replace a file that it "
            f"needs; name a place outside, like {option}={shell_quoted(outside)}"
        )


def _refuse_pictures(option: str, path: Path, pictures: Sequence[Path]) -> None:
    for picture in pictures:
        with contextlib.suppress(OSError):  # one of the two is not there
            if path.samefile(picture):
                other = shell_quoted(path.with_name(f"like-{path.name}"))
                raise UsageError(
                    f"{option}={printable(path)} is the picture {printable(picture)} that you ask about, and would replace "
                    f"it; name another file, like {option}={other}"
                )


def _places(path: Path) -> Iterator[Path]:
    """Yield the place of the path, and that of its target if it is a link: a link is replaced, its target is not."""
    yield Path(os.path.realpath(path.parent), path.name)
    yield Path(os.path.realpath(path))


def _listed(suffixes: Sequence[str]) -> str:
    *others, last = suffixes
    return f"{', '.join(others)} or {last}" if others else last
