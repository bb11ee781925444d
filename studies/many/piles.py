"""Collections as one file that travels: the pixels as trainings see them, and the labels that encoders are scored by."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from PIL import Image

from divcon.data.decoding.decode import fitted_size
from divcon.data.pixels.packed import PackedImages
from divcon.errors import DataError
from divcon.files.text import printable
from divcon.nets.preprocessing import SHORT_SIDE

PACKED_FOR = 32  # the size of views, in pixels, that collections are packed for
At = tuple[str, int]  # a collection by its name, and the size of its views


@dataclass(frozen=True)
class LabelSet:
    """Images that have one class, by position, and the number of the class of each."""

    positions: Int64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"]
    linear: bool = True  # False: too many classes for a linear probe in little time


@dataclass(frozen=True)
class Pile:
    """The pixels of a collection, and its label sets by name."""

    name: str
    packed: PackedImages
    labels: Mapping[str, LabelSet]

    def __len__(self) -> int:
        return len(self.packed)


def pack(packed: PackedImages, rows: NDArray[np.int64], labels: Mapping[str, LabelSet], file: Path) -> None:
    """Write the images `rows` of `packed`, without loss, and the labels of their positions."""
    with ThreadPoolExecutor() as threads:
        told = list(threads.map(lambda row: _encoded(packed[int(row)]), rows))
    sets = {
        f"{name}/{part}": getattr(its, part)
        for name, its in labels.items()
        for part in ("positions", "classes", "linear")
    }
    bytes_of = np.frombuffer(b"".join(told), np.uint8)
    np.savez(file, lengths=[len(one) for one in told], images=bytes_of, names=list(labels), **sets)


def unpack(file: Path) -> Pile:
    """The collection of a file NAME.npz. DataError for another file."""
    try:
        with np.load(file, allow_pickle=False) as found, ThreadPoolExecutor() as threads:
            ends = np.cumsum(found["lengths"])[:-1]
            arrays = list(threads.map(_decoded, np.split(found["images"], ends)))
            labels = {
                str(name): LabelSet(found[f"{name}/positions"], found[f"{name}/classes"], bool(found[f"{name}/linear"]))
                for name in found["names"]
            }
    except (OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        reason = printable(str(error))
        raise DataError(
            f"{printable(file)} is no packed collection ({reason}); make it again: python -m studies.many pack {printable(file.stem)} "
            "cache=FOLDER out=FOLDER"
        ) from error
    return Pile(file.stem, PackedImages.from_arrays(arrays), labels)


def _encoded(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", lossless=True, quality=75, method=4)
    return stream.getvalue()


def _decoded(told: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(Image.open(io.BytesIO(told.tobytes())).convert("RGB"))


def shrunk(pile: Pile, size: int) -> Pile:
    """The collection for views of another size: larger images are shrunk, as `divcon run` shrinks those that it decodes."""
    if size >= PACKED_FOR:
        return pile
    with ThreadPoolExecutor() as threads:
        arrays = list(threads.map(lambda row: _shrunk(pile.packed[row], SHORT_SIDE * size), range(len(pile))))
    return replace(pile, packed=PackedImages.from_arrays(arrays))


def _shrunk(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h w 3"]:
    height, width = pixels.shape[:2]
    fitted = fitted_size(width, height, side)
    image = Image.fromarray(pixels)
    return np.asarray(image if image.size == fitted else image.resize(fitted, Image.Resampling.BICUBIC))


def joined(name: str, piles: Sequence[Pile]) -> Pile:
    """The images of several piles as one collection, with all their labels: NAME or NAME-SET."""
    packed = PackedImages.from_flat(
        *(np.concatenate([getattr(pile.packed, part) for pile in piles]) for part in ("heights", "widths", "flat"))
    )
    begins = np.cumsum([0, *map(len, piles)])
    labels = {
        pile.name if len(pile.labels) == 1 else f"{pile.name}-{its}": LabelSet(
            labels.positions + begin, labels.classes, labels.linear
        )
        for pile, begin in zip(piles, begins)
        for its, labels in pile.labels.items()
    }
    return Pile(name, packed, labels)
