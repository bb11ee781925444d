"""The pixels of a collection in a file that all runs share, made once.

    cache/pixels/<key>/pixels.u8      the bytes of all images; the index alone says where each begins
                       pixels.json    the size, and a checksum for each block of 1,024 images

While it is written, the folder is called <key>.<host>.<pid>.part, and its file `blocks` lists the finished blocks. Of
several processes, the first one that renames its folder has made the cache. The folder of a dead process is taken over.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ... import failpoints, log, signals
from ...errors import DamagedError, DiskError
from ...files import atomic, caches, integrity, text
from ...files.disk_errors import disk_errors
from ..decoding.formats import DECODER_VERSIONS
from ..images import Images, Positions
from ..sources.reader_threads import parallel_map
from .packed import PackedImages
from .pixels import CHUNK, DecodedPixels, Pixels, decode_images, fitted_sizes, total_bytes

VERSION = 1
BLOCK = 1024
GB = 1e9

_writing = threading.Lock()
_verified: set[tuple[Path, int, int]] = set()  # caches whose checksums this process has compared


class CachedPixels:
    """Pixels at `rows` of one mapped file: nothing is copied, and processes share the memory."""

    def __init__(self, packed: PackedImages, rows: Positions):
        self.packed, self.rows = packed, rows
        self.heights, self.widths = packed.heights[rows], packed.widths[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, positions: Positions) -> tuple[PackedImages, Positions]:
        return self.packed, self.rows[positions]

    def subset(self, positions: Positions) -> Pixels:
        return CachedPixels(self.packed, self.rows[positions])


def open_pixels(images: Images, side: int, *, cache: Path, cache_gb: float, workers: int) -> Pixels:
    """Return the pixels of the images: from the cache if the whole collection fits into `cache_gb`, else decoded each time.

    `side` is the short side of an image in pixels, about. The cache is written now if it is not there. A subset uses
    the cache of the whole collection."""
    return _open_whole(images.whole(), side, cache, cache_gb, workers).subset(images.rows)


def _open_whole(images: Images, side: int, cache: Path, cache_gb: float, workers: int) -> Pixels:
    heights, widths = fitted_sizes(images, side)
    size = total_bytes(heights, widths)
    if size > cache_gb * GB:
        log.info(f"pixels: {size / GB:.1f} GB is more than cache_gb={cache_gb:g}: images are decoded each time")
        return DecodedPixels(images, side, workers)
    folder = pixel_folder(images, side, cache)
    with caches.skip_if_unwritable(cache), _writing:
        if not _is_intact(folder, PackedImages.from_flat(heights, widths, np.empty(0, np.uint8)), size):
            CacheWriter(folder, images, side, size).write(workers)
        flat = np.memmap(folder / "pixels.u8", np.uint8, "r")
        return CachedPixels(PackedImages.from_flat(heights, widths, flat), np.arange(len(images)))
    return DecodedPixels(images, side, workers)


def pixel_folder(images: Images, side: int, cache: Path) -> Path:
    """Return the folder of the pixels of these images in the cache; it need not exist."""
    return cache / "pixels" / integrity.digest(f"{images.fingerprint} {side} {VERSION} {DECODER_VERSIONS}")


class CacheWriter:
    """Writes the pixels of a collection into a folder of this process, and renames it to `folder` at the end."""

    def __init__(self, folder: Path, images: Images, side: int, size: int):
        self.folder, self.images, self.side, self.size = folder, images, side, size
        self.part = atomic.part_path(folder)
        self.starts = range(0, len(images), BLOCK)

    def write(self, workers: int) -> None:
        with disk_errors(self.folder):
            atomic.make_folder(self.folder.parent)
            take_over(self.folder)
            self.part.mkdir(exist_ok=True)
            self._allocate()
            failpoints.at("pixels.reserved")
            checksums = self._write_blocks(workers)
            atomic.fsync(self.part / "pixels.u8")
            integrity.write_json(self.part / "pixels.json", {"bytes": self.size, "block": BLOCK, "sha256": checksums})
            failpoints.at("pixels.sealed")
            self._publish()
            failpoints.at("pixels.published")

    def _allocate(self) -> None:
        """Allocate the whole file: if the disk filled up later, a write to the map would kill the process."""
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

    def _write_blocks(self, workers: int) -> list[str]:
        """Decode the blocks that are missing, and return the checksums of all. A block is complete if its bytes have the
        listed checksum."""
        flat = np.memmap(self.part / "pixels.u8", np.uint8, "r+")
        packed = PackedImages.from_flat(*fitted_sizes(self.images, self.side), flat)
        listed, checksums = self._listed_checksums(), []
        with (self.part / "blocks").open("a") as blocks:
            for start in self.starts:
                block = _block(packed, start)
                checksum = _checksum(block)
                if listed.get(start) != checksum:
                    self._decode_block(packed, start, workers)
                    checksum = _checksum(block)
                    failpoints.at("pixels.decoded")
                    blocks.write(f"{start} {checksum}\n")
                    blocks.flush()
                    failpoints.at("pixels.listed")
                checksums.append(checksum)
                log.progress("pixels", min(start + BLOCK, len(self.images)), len(self.images))
                signals.stop_if_requested("the pixels so far are kept")
        return checksums

    def _decode_block(self, packed: PackedImages, start: int, workers: int) -> None:
        stop = min(start + BLOCK, len(self.images))

        def decode_chunk(first: int) -> None:
            positions = np.arange(first, min(first + CHUNK, stop))
            for position, array in zip(positions, decode_images(self.images, positions, self.side)):
                packed[int(position)][:] = array

        parallel_map(decode_chunk, range(start, stop, CHUNK), workers)

    def _listed_checksums(self) -> dict[int, str]:
        """Return the checksums in `blocks` (its last line may be cut) and in the pixels.json of a damaged cache."""
        file = self.part / "blocks"
        lines = file.read_bytes().decode("ascii", "replace").splitlines() if file.exists() else []
        fields = [line.split() for line in lines]
        listed = {int(line[0]): line[1] for line in fields if len(line) == 2 and line[0].isdecimal()}
        return dict(zip(self.starts, _sealed_checksums(self.part))) | listed

    def _publish(self) -> None:
        (self.part / "blocks").unlink()
        try:
            self.part.rename(self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(self.part)  # another process was first, and its pixels are the same
        atomic.fsync(self.folder.parent)


def take_over(folder: Path) -> None:
    """Continue one of the unfinished folders that dead processes of this machine left, and remove the others."""
    own = atomic.part_path(folder)
    for part in atomic.orphaned_parts(folder):
        if own.exists():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                part.rename(own)


def _is_intact(folder: Path, layout: PackedImages, size: int) -> bool:
    """Return True if the cache exists and has its checksums; a process compares them once.

    A damaged cache becomes an unfinished folder of this process, which is then completed."""
    if not folder.is_dir():
        return False
    file = folder / "pixels.u8"
    version = (folder, file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None
    if version in _verified:
        return True
    damage = _damage(folder, layout, size)
    if not damage and version:
        _verified.add(version)
        return True
    log.warning(f"the pixel cache is damaged: {damage}. Blocks that differ are decoded again")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        shutil.rmtree(atomic.part_path(folder), ignore_errors=True)
        folder.rename(atomic.part_path(folder))
    return False


def _damage(folder: Path, layout: PackedImages, size: int) -> str:
    """Return the first difference between a cache and its pixels.json; "" if there is none."""
    file = folder / "pixels.u8"
    try:
        sealed = integrity.read_json(folder / "pixels.json")["sha256"]
        if file.stat().st_size != size:
            return f"{text.printable(file)}: expected {size:,} bytes, found {file.stat().st_size:,}"
    except (OSError, DamagedError, KeyError, TypeError) as error:
        return str(error)
    packed, n = replace(layout, flat=np.memmap(file, np.uint8, "r")), len(layout)
    for start, expected in zip(range(0, n, BLOCK), sealed):
        log.progress("checking pixels", min(start + BLOCK, n), n)
        if (found := _checksum(_block(packed, start))) != expected:
            return f"{text.printable(file)}, block {start // BLOCK}: {integrity.hash_difference(expected, found)}"
    return ""


def _sealed_checksums(part: Path) -> list[str]:
    """Return the checksums in pixels.json; none if it is missing or damaged."""
    try:
        return [str(checksum) for checksum in integrity.read_json(part / "pixels.json")["sha256"]]
    except (OSError, DamagedError, KeyError, TypeError):
        return []


def _block(packed: PackedImages, start: int) -> UInt8[np.ndarray, "bytes"]:
    """Return the bytes of the images in the block that begins with image `start`."""
    stop = start + BLOCK
    end = int(packed.starts[stop]) if stop < len(packed) else len(packed.flat)
    return packed.flat[int(packed.starts[start]) : end]


def _checksum(block: UInt8[np.ndarray, "bytes"]) -> str:
    return hashlib.sha256(block.data).hexdigest()
