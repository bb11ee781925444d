"""What a report keeps in RUN/report, so that it can be drawn again where the images are not.

report.json        KeptRecord, with the hashes of the other files
positions.npy ...  the sample: positions, features, clusters, widths, heights, sizes
thumbnails.bin     WebP files one after another, with their ends in thumbnails.npy; so too pictures.bin, of galleries
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..clustering.number_of_clusters import Trial
from ..config import to_json_value
from ..errors import DamagedError, few
from ..files.atomic import atomic_write
from ..files.integrity import mismatches, sha256, write_json
from ..files.text import printable
from ..runs.folder import REPORT_FOLDER, RunFolder
from ..runs.json_files import load_record
from .sample import Sample

RECORD = "report.json"
ARRAYS = ("positions", "features", "clusters", "widths", "heights", "sizes")
THUMBNAILS, PICTURES = "thumbnails", "pictures"


@dataclass(frozen=True)
class ShownImage:
    """An image of a gallery: its row in the index of the collection, its printable path, and a note."""

    row: int
    path: str
    note: str = ""


@dataclass(frozen=True)
class ShownGallery:
    """Images under a title; `cluster` is the cluster that they belong to. `of` is the number of images they were chosen from."""

    kind: str
    title: str
    images: list[ShownImage]
    cluster: int | None = None
    of: int = 0


@dataclass(frozen=True)
class Quality:
    """Measures of an encoder without labels, on `images` of the sample.

    `rank` is the effective rank of `dimensions` features (RankMe). `agreement` is that of the neighbors by two views, by the
    names of the stages; `silhouette` is that of the clusters.
    """

    images: int
    dimensions: int
    rank: float
    spread: float
    silhouette: float | None
    agreement: dict[str, float]
    agreement_images: int


@dataclass(frozen=True)
class KeptRecord:
    """The content of report.json.

    `of` is the digest of the stages that it was made of. `encoder` is the stage whose encoder saw the sample, `division` the
    stage whose clusters are shown ("" if the sample was divided for the report). `trials` are the evidence for the number of
    clusters, from `trial_images`. `cluster_sizes` count the whole collection, or the sample where only that was divided.
    `picture_rows` are the rows of the index whose pictures are kept. With `whiten` features were compared whitened.
    """

    of: str
    collection: int
    encoder: str
    division: str
    names: list[str]
    cluster_sizes: list[int]
    paths: list[str]
    trials: list[Trial]
    trial_images: int
    galleries: list[ShownGallery]
    quality: Quality | None = None
    picture_rows: list[int] = field(default_factory=list)
    missing: str = ""
    whiten: bool = True
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Kept:
    """The record, the arrays and the pictures of a report; `pictures` are WebP files by the row in the index."""

    record: KeptRecord
    arrays: dict[str, NDArray[Any]]
    thumbnails: list[bytes] | None
    pictures: dict[int, bytes]

    def sample(self) -> Sample:
        """Return the sample that the map shows."""
        record, arrays = self.record, self.arrays
        rest = {name: arrays[name] for name in ("positions", "clusters", "widths", "heights", "sizes")}
        return Sample(
            record.collection,
            features=arrays.get("features"),
            names=record.names,
            paths=record.paths,
            thumbnails=self.thumbnails,
            **rest,
        )

    def galleries(self, kind: str, cluster: int | None = None) -> list[ShownGallery]:
        """Return the galleries of a kind, or of a cluster."""
        return [each for each in self.record.galleries if each.kind == kind and each.cluster == cluster]


def save_kept(run: Path, kept: Kept) -> None:
    """Write RUN/report; its record is written last."""
    folder = run / REPORT_FOLDER
    (folder / RECORD).unlink(missing_ok=True)
    files = [_save_array(folder, name, array) for name, array in kept.arrays.items()]
    files += _save_pack(folder, THUMBNAILS, kept.thumbnails or [])
    files += _save_pack(folder, PICTURES, list(kept.pictures.values()))
    content = to_json_value(kept.record)
    content.update(picture_rows=list(kept.pictures), sha256={file.name: sha256(file) for file in files})
    write_json(folder / RECORD, content)


def load_kept(run: Path) -> Kept | None:
    """Return what RUN/report has; None if there is nothing. DamagedError if it is not as it was written."""
    folder = run / REPORT_FOLDER
    if not (folder / RECORD).is_file():
        return None
    record = load_record(KeptRecord, folder / RECORD)
    if wrong := mismatches(folder / RECORD):
        raise DamagedError(f"{few(wrong, '; ')}. Remove {printable(folder)}, and type the same command again")
    try:
        arrays = {name: np.load(folder / f"{name}.npy") for name in ARRAYS if (folder / f"{name}.npy").is_file()}
        thumbnails, pictures = _load_pack(folder, THUMBNAILS), _load_pack(folder, PICTURES)
        kept = Kept(record, arrays, thumbnails or None, dict(zip(record.picture_rows, pictures, strict=True)))
        _check(kept)
    except (ValueError, OSError, KeyError) as error:
        raise DamagedError(
            f"{printable(folder)} can't be read ({printable(str(error))}); remove it, and type the same command again"
        ) from error
    return kept


def _check(kept: Kept) -> None:
    """ValueError, unless the arrays fit the record: a run may come from a stranger."""
    record, m = kept.record, len(kept.record.paths)
    for name in ARRAYS:
        if name != "features" and kept.arrays[name].shape != (m,):
            raise ValueError(f"{name}.npy does not have {m} numbers")
        if kept.arrays.get(name, np.zeros(1)).dtype.kind not in "if":
            raise ValueError(f"{name}.npy holds no numbers")
    features, labels = kept.arrays.get("features"), kept.arrays["clusters"]
    if features is not None and (features.ndim != 2 or len(features) != m or not np.isfinite(features).all()):
        raise ValueError("features.npy does not have the features of the sample")
    if m and not 0 <= labels.min() <= labels.max() < len(record.names) == len(record.cluster_sizes):
        raise ValueError("clusters.npy has clusters without a name")
    if kept.thumbnails is not None and len(kept.thumbnails) != m:
        raise ValueError(f"thumbnails.bin does not have {m} thumbnails")


def _save_array(folder: Path, name: str, array: NDArray[Any]) -> Path:
    path = folder / f"{name}.npy"
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array)
    return path


def _save_pack(folder: Path, name: str, contents: Sequence[bytes]) -> list[Path]:
    """Write files one after another into one, and their ends into an array."""
    ends = np.cumsum([len(content) for content in contents], dtype=np.int64)
    with atomic_write(folder / f"{name}.bin") as part:
        part.write_bytes(b"".join(contents))
    return [folder / f"{name}.bin", _save_array(folder, name, ends)]


def _load_pack(folder: Path, name: str) -> list[bytes]:
    content, ends = (folder / f"{name}.bin").read_bytes(), np.load(folder / f"{name}.npy").tolist()
    return [content[begin:end] for begin, end in zip([0, *ends[:-1]], ends)] if ends else []


def run_digest(run: Path, stages: Mapping[str, str]) -> str:
    """Return what identifies the state of a run: the hashes of its finished stages, in order."""
    return "-".join([*(value[:8] for value in stages.values())]) or f"nothing done in {RunFolder(run).path.name}"


assert {item.name for item in fields(Sample)} >= {*ARRAYS, THUMBNAILS}
