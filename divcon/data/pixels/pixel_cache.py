"""Decoded pictures, their short side shrunk to about `side`: from a file that all runs share, or decoded each time.

    cache/pixels/<key>/pixels.u8      every picture's bytes; where each begins follows from the index alone
                       pixels.json    its size, and a checksum for each block of 1,024 pictures

While it is being made the folder is called <key>.<host>.<pid>.part, and `blocks` in it lists what is done. Whoever
renames theirs first has made it; what a dead process left is taken over.
"""

import contextlib
import errno
import hashlib
import math
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int32, UInt8

from ... import failpoints, log, signals
from ...errors import DamagedError, DiskError
from ...files import atomic, caches, integrity, text
from ...files.disk_errors import disk_errors
from ..decoding.decode import DECODING, Picture, Rejected, fitted, shrunk
from ..images import Images, Positions
from ..sources.reader_threads import parallel_map
from .packed import PackedPictures

LAYOUT = 1
BLOCK = 1024
CHUNK = 32
GB = 1e9

_building = threading.Lock()
_sound: set[tuple[Path, int, int]] = set()  # caches that this process has read and found as they were made


class Pixels(Protocol):
    """Pictures by position, in RGB and of the sizes said. A subset numbers its own from 0."""

    @property
    def heights(self) -> Int32[np.ndarray, "images"]: ...

    @property
    def widths(self) -> Int32[np.ndarray, "images"]: ...

    def __len__(self) -> int: ...

    def at(self, positions: Positions) -> tuple[PackedPictures, Positions]:
        """Pictures, and which of them are at these positions."""
        ...

    def subset(self, positions: Positions) -> "Pixels": ...


class Decoded:
    """Pictures decoded whenever they are asked for."""

    def __init__(self, images: Images, side: int, workers: int):
        self.images, self.side, self.workers = images, side, workers
        self.heights, self.widths = fitted_sizes(images, side)

    def __len__(self) -> int:
        return len(self.images)

    def at(self, positions: Positions) -> tuple[PackedPictures, Positions]:
        unique, rows = np.unique(positions, return_inverse=True)
        heights, widths = self.heights[unique], self.widths[unique]
        size = 3 * int(heights.astype(np.int64) @ widths.astype(np.int64))
        pictures = PackedPictures.laid_out(heights, widths, np.empty(size, np.uint8))
        # Several chunks to a thread, so that none is left with the large pictures when the others are done.
        share = min(CHUNK, math.ceil(len(unique) / (4 * self.workers)))
        parallel_map(
            lambda start: self._put(pictures, unique, start, share), range(0, len(unique), share or 1), self.workers
        )
        return pictures, rows

    def _put(self, pictures: PackedPictures, positions: Positions, start: int, share: int) -> None:
        for i, picture in enumerate(decoded(self.images, positions[start : start + share], self.side), start):
            pictures[i][:] = picture

    def subset(self, positions: Positions) -> Pixels:
        return Decoded(self.images.subset(positions), self.side, self.workers)


class Cached:
    """Pictures at `rows` of one mapped file: nothing is copied, and processes share the memory."""

    def __init__(self, pictures: PackedPictures, rows: Positions):
        self.pictures, self.rows = pictures, rows
        self.heights, self.widths = pictures.heights[rows], pictures.widths[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: Positions) -> tuple[PackedPictures, Positions]:
        return self.pictures, self.rows[positions]

    def subset(self, positions: Positions) -> Pixels:
        return Cached(self.pictures, self.rows[positions])


def open_pixels(images: Images, side: int, *, cache: Path, cache_gb: float, workers: int) -> Pixels:
    """The images' pixels, those of a subset out of the whole folder's: cached if they fit into cache_gb, else decoded."""
    return _open(images.whole(), side, cache, cache_gb, workers).subset(images.rows)


def _open(images: Images, side: int, cache: Path, cache_gb: float, workers: int) -> Pixels:
    """The images' pixels: cached (made now, unless they were before) if they fit into cache_gb, else decoded as needed."""
    heights, widths = fitted_sizes(images, side)
    size = 3 * int(heights.astype(np.int64) @ widths.astype(np.int64))
    if size > cache_gb * GB:
        log.info(f"pixels: {size / GB:.1f} GB is more than cache_gb={cache_gb:g}: images are decoded each time")
        return Decoded(images, side, workers)
    folder = place_of(images, side, cache)
    with caches.skip_if_unwritable(cache), _building:
        if not _is_sound(folder, PackedPictures.laid_out(heights, widths, np.empty(0, np.uint8)), size):
            Build(folder, images, side, size).make(workers)
        flat = np.memmap(folder / "pixels.u8", np.uint8, "r")
        return Cached(PackedPictures.laid_out(heights, widths, flat), np.arange(len(images)))
    return Decoded(images, side, workers)


def place_of(images: Images, side: int, cache: Path) -> Path:
    """The folder for the pixels of these images, whether it is there or not."""
    return cache / "pixels" / integrity.digest(f"{images.fingerprint} {side} {LAYOUT} {DECODING}")


def fitted_sizes(images: Images, side: int) -> tuple[Int32[np.ndarray, "images"], Int32[np.ndarray, "images"]]:
    """Heights and widths of the pictures once they are shrunk."""
    heights, widths = np.empty(len(images), np.int32), np.empty(len(images), np.int32)
    for i, (width, height) in enumerate(zip(images.widths, images.heights)):  # no list: of many images, it is long
        widths[i], heights[i] = fitted(int(width), int(height), side)
    return heights, widths


def decoded(images: Images, positions: Positions, side: int) -> list[Picture]:
    """The pictures at these positions, shrunk, and of the very sizes that the index makes us expect."""
    expected = zip(*fitted_sizes(images.subset(positions), side))
    pictures = []
    for data, position, size in zip(images.read(positions), positions, expected):
        try:
            picture, how = shrunk(data, side), "it has another size"
        except Rejected as error:
            picture, how = np.empty((0, 0, 3), np.uint8), str(error)
        if picture.shape[:2] != size:
            raise images.changed(images.names(np.array([position]))[0], how)
        pictures.append(picture)
    return pictures


class Build:
    """The making of a cache folder, by this process alone, in a folder of its own."""

    def __init__(self, folder: Path, images: Images, side: int, size: int):
        self.folder, self.images, self.side, self.size = folder, images, side, size
        self.part = atomic.part_path(folder)
        self.starts = range(0, len(images), BLOCK)

    def make(self, workers: int) -> None:
        with disk_errors(self.folder):
            atomic.make_folder(self.folder.parent)
            adopt(self.folder)
            self.part.mkdir(exist_ok=True)
            self._reserve()
            failpoints.at("pixels.reserved")
            checksums = self._fill(workers)
            atomic.fsync(self.part / "pixels.u8")
            integrity.write_json(self.part / "pixels.json", {"bytes": self.size, "block": BLOCK, "sha256": checksums})
            failpoints.at("pixels.sealed")
            self._publish()
            failpoints.at("pixels.published")

    def _reserve(self) -> None:
        """Take the room for all of it at once: a disk that fills up later would kill us at a write to the map."""
        with (self.part / "pixels.u8").open("ab") as file:
            file.truncate(min(self.size, os.fstat(file.fileno()).st_size))
            missing = self.size - 512 * os.fstat(file.fileno()).st_blocks - shutil.disk_usage(self.part).free
            if missing > 0:
                raise DiskError(
                    f"the pixel cache needs {self.size / GB:.2f} GB in {text.printable(self.folder.parent)}, "
                    f"{missing / GB:.2f} GB more than is free: make room, or name another disk by cache=, or say "
                    "cache_gb=0 to have images decoded each time"
                )
            os.posix_fallocate(file.fileno(), 0, self.size)

    def _fill(self, workers: int) -> list[str]:
        """Decode what is not there yet. A block is believed for its checksum, not for having been written."""
        flat = np.memmap(self.part / "pixels.u8", np.uint8, "r+")
        pictures = PackedPictures.laid_out(*fitted_sizes(self.images, self.side), flat)
        claimed, checksums = self._claimed(), []
        with (self.part / "blocks").open("a") as journal:
            for start in self.starts:
                block = _block(pictures, start)
                checksum = _checksum(block)
                if claimed.get(start) != checksum:
                    self._decode(pictures, start, workers)
                    checksum = _checksum(block)
                    failpoints.at("pixels.decoded")
                    journal.write(f"{start} {checksum}\n")
                    journal.flush()
                    failpoints.at("pixels.listed")
                checksums.append(checksum)
                log.progress("pixels", min(start + BLOCK, len(self.images)), len(self.images))
                signals.stop_if_requested("the pixels so far are kept")
        return checksums

    def _decode(self, pictures: PackedPictures, start: int, workers: int) -> None:
        """One block, its images spread over the threads."""

        def put(first: int) -> None:
            positions = np.arange(first, min(first + CHUNK, start + BLOCK, len(self.images)))
            for position, picture in zip(positions, decoded(self.images, positions, self.side)):
                pictures[int(position)][:] = picture

        parallel_map(put, range(start, min(start + BLOCK, len(self.images)), CHUNK), workers)

    def _claimed(self) -> dict[int, str]:
        """The checksum of each block that a journal lists (its last line may be torn), or that a damaged cache had."""
        journal = self.part / "blocks"
        lines = journal.read_bytes().decode("ascii", "replace").splitlines() if journal.exists() else []
        fields = [line.split() for line in lines]
        listed = {int(line[0]): line[1] for line in fields if len(line) == 2 and line[0].isdecimal()}
        return dict(zip(self.starts, _stated(self.part))) | listed

    def _publish(self) -> None:
        (self.part / "blocks").unlink()
        try:
            self.part.rename(self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(self.part)  # another process was first, and made the same
        atomic.fsync(self.folder.parent)


def adopt(folder: Path) -> None:
    """Go on with what a dead process of this machine had begun; of several, with any, and the others go."""
    mine = atomic.part_path(folder)
    for part in atomic.orphaned_parts(folder):
        if mine.exists():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                part.rename(mine)


def _is_sound(folder: Path, layout: PackedPictures, size: int) -> bool:
    """Whether the cache is there and, read once by this process, as it was made. Else it is put aside, to be mended."""
    if not folder.is_dir():
        return False
    file = folder / "pixels.u8"
    name = (folder, file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None
    if name in _sound:
        return True
    wrong = _damage(folder, layout, size)
    if not wrong and name:
        _sound.add(name)
        return True
    log.warning(f"the pixel cache is damaged: {wrong}. What differs is decoded again")
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        shutil.rmtree(atomic.part_path(folder), ignore_errors=True)
        folder.rename(atomic.part_path(folder))
    return False


def _damage(folder: Path, layout: PackedPictures, size: int) -> str:
    """How a cache differs from what pixels.json says of it; nothing where it does not."""
    file = folder / "pixels.u8"
    try:
        stated = integrity.read_json(folder / "pixels.json")["sha256"]
        if file.stat().st_size != size:
            return f"{text.printable(file)}: expected {size:,} bytes, found {file.stat().st_size:,}"
    except (OSError, DamagedError, KeyError, TypeError) as error:
        return str(error)
    pictures, n = replace(layout, flat=np.memmap(file, np.uint8, "r")), len(layout)
    for start, expected in zip(range(0, n, BLOCK), stated):
        log.progress("checking pixels", min(start + BLOCK, n), n)
        if (found := _checksum(_block(pictures, start))) != expected:
            return f"{text.printable(file)}, block {start // BLOCK}: {integrity.hash_difference(expected, found)}"
    return ""


def _stated(part: Path) -> list[str]:
    """The checksums of a cache's blocks, as far as they are known."""
    try:
        return [str(checksum) for checksum in integrity.read_json(part / "pixels.json")["sha256"]]
    except (OSError, DamagedError, KeyError, TypeError):
        return []


def _block(pictures: PackedPictures, start: int) -> UInt8[np.ndarray, "bytes"]:
    """The bytes of a block's pictures."""
    stop = start + BLOCK
    end = int(pictures.starts[stop]) if stop < len(pictures) else len(pictures.flat)
    return pictures.flat[int(pictures.starts[start]) : end]


def _checksum(block: UInt8[np.ndarray, "bytes"]) -> str:
    return hashlib.sha256(block.data).hexdigest()
