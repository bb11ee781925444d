"""Write an export: complete, loaded back and compared, or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..errors import FaultError, OwnedError
from ..files.atomic import fsync, make_folder, part_path
from ..files.disk_errors import disk_errors
from ..files.integrity import mismatches, read_json, sha256, write_json
from ..files.text import printable
from ..nets.trained import Trained
from ..runs.folder import MANIFEST, WHITENING
from .card import model_card
from .compare import largest_difference, tolerance_of
from .origin import Origin
from .registry import format_named

CARD = "README.md"
PYTHON_CACHE = "__pycache__"  # appears when a program imports slim.py from an export


@dataclass(frozen=True)
class Export(Answer):
    """An export: its format, its folder, the names of its files, and the largest difference from the original features.

    The difference is that of a feature, over the largest feature, on made pictures.
    """

    format: str
    folder: str
    files: list[str]
    difference: float


def check_folder(folder: Path) -> None:
    """Raise OwnedError if something lies at `folder` that is no export: it would be lost."""
    if folder.is_symlink() or (folder.exists() and not _is_export(folder)):
        raise OwnedError(f"{printable(folder)} is there, and is no export of divcon; name another folder (out=)")


def write_export(name: str, model: Trained, origin: Origin | None, folder: Path, license: str) -> Export:
    """Write the model in the format `name` to `folder`, and return what was written; an older export there is replaced.

    A whitening that the format can't hold is a file beside it. The export is loaded by its library first. Raises FaultError, and writes nothing, if its features differ.
    """
    format = format_named(name)
    whitening = None if format.holds_whitening(model) else model.whitening
    model = model.raw() if whitening is not None else model
    with _complete_folder(folder) as part:
        format.write(model, part)
        difference = largest_difference(model, format.load(part))
        if not difference <= tolerance_of(format, model):
            raise FaultError(
                f"format={name}: loaded back, the features differ by {difference:.1e} of the largest one, and at most "
                f"{tolerance_of(format, model):.0e} is allowed; nothing was written. format=safetensors has the original weights"
            )
        if whitening is not None:
            whitening.save(part / WHITENING)
        (part / CARD).write_text(model_card(name, format, model, whitening, origin, difference, license))
        files = sorted(file.name for file in part.iterdir())
        write_json(part / MANIFEST, {"format": name, "difference": difference, "sha256": _hashes(part, files)})
    return Export(name, str(folder), [*files, MANIFEST], difference)


def _hashes(folder: Path, files: list[str]) -> dict[str, str]:
    return {name: sha256(folder / name) for name in files}


def _is_export(folder: Path) -> bool:
    """True for a folder with the files of its manifest and no others: to replace it loses nothing of the user's."""
    manifest = folder / MANIFEST
    if not manifest.is_file() or mismatches(manifest):
        return False
    known = {MANIFEST, PYTHON_CACHE, *read_json(manifest)["sha256"]}
    return {file.name for file in folder.iterdir()} <= known


@contextlib.contextmanager
def _complete_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write to; at the end of the block it is synced and renamed. After an error it is removed."""
    part = part_path(folder)
    with disk_errors(folder):
        make_folder(folder.parent)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            for file in (*part.iterdir(), part):
                fsync(file)
            check_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
