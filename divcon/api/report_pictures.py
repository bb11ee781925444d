"""The pictures that a report shows, decoded from the images of a run: thumbnails, galleries, and what is odd about them."""

import io
import threading

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from ..data.decoding.decode import decode_shrunk
from ..data.decoding.rejection import Rejected
from ..data.images import Images
from ..data.pixels.pixels import decode_images
from ..data.sources.reader_threads import parallel_map
from ..data.sources.source import read_bytes
from ..log import progress
from ..reports.measures import Measures, measure

Positions = Int64[np.ndarray, " m"]
RGBArray = UInt8[np.ndarray, "h w 3"]

THUMBNAIL = 64  # pixels: the longer side of a picture on the map
GALLERY = 112  # pixels: the longer side of a picture in a gallery
QUALITY = 80  # of WebP
CHUNK = 16  # images that a thread decodes before it takes others


class Counted:
    """Reports the progress of threads, which finish their parts in any order."""

    def __init__(self, what: str, total: int):
        self.what, self.total, self.done = what, total, 0
        self.lock = threading.Lock()

    def add(self, n: int) -> None:
        """Report n more units."""
        with self.lock:
            self.done += n
            progress(self.what, self.done, self.total)


def thumbnails_and_measures(images: Images, positions: Positions, workers: int) -> tuple[list[bytes], list[Measures]]:
    """Return a thumbnail and the measures of each image at some positions. DataError names one that has changed."""
    thumbnails, measures = [b""] * len(positions), [Measures(0, 0, 0)] * len(positions)
    read = Counted("reading pictures for the report", len(positions))

    def read_chunk(start: int) -> None:
        chunk = positions[start : start + CHUNK]
        for i, pixels in enumerate(decode_images(images, chunk, GALLERY), start):
            thumbnails[i], measures[i] = as_webp(pixels, THUMBNAIL), measure(_at_one_size(pixels))
        read.add(len(chunk))

    parallel_map(read_chunk, range(0, len(positions), CHUNK), workers)
    return thumbnails, measures


def gallery_pictures(images: Images, rows: list[int], workers: int) -> dict[int, bytes]:
    """Return pictures of some rows of the index, as WebP files; rows that can't be read any more are left out."""
    found: dict[int, bytes] = {}
    read = Counted("reading pictures for the report", len(rows))

    def read_chunk(start: int) -> None:
        for row in rows[start : start + CHUNK]:
            pixels = _decode_row(images, row)
            if pixels is not None:
                found[row] = as_webp(pixels, GALLERY)
        read.add(len(rows[start : start + CHUNK]))

    parallel_map(read_chunk, range(0, len(rows), CHUNK), workers)
    return {row: found[row] for row in rows if row in found}


def as_webp(pixels: RGBArray, side: int) -> bytes:
    """Return a picture as a WebP file whose longer side has at most `side` pixels."""
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def _at_one_size(pixels: RGBArray) -> RGBArray:
    """Return the picture with a longer side of at most GALLERY pixels, so that its sharpness compares with that of others."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((GALLERY, GALLERY), Image.Resampling.BOX)
    return np.asarray(picture)


def _decode_row(images: Images, row: int) -> RGBArray | None:
    """Return the pixels of a used image or of a duplicate."""
    entry = images.index.table.slice(row, 1).select(["path_bytes", "offset", "bytes"]).to_pylist()[0]
    try:
        data = read_bytes(images.source.byte_range(entry["path_bytes"], entry["offset"], entry["bytes"]))
        return decode_shrunk(data, GALLERY)
    except (OSError, Rejected):
        return None
