"""What a collection of many small files costs: seconds and memory of its first scan, of later starts, of pairing.

    python -m benchmarks.files [FILES] [FOLDER]     # 100,000 files in 100 folders, made in FOLDER if they are missing
    python -m benchmarks.files rows [ROWS]          # 1,000,000 rows in place of files: no disk is read, no picture decoded

Each line is measured in a process of its own. The memory is the peak of RssAnon above that of the imports: a mapped page
belongs to its file, and is released when memory is short.
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from divcon.data.images import Images, open_images
from divcon.data.index.batched import Rows, blocks
from divcon.data.index.build_table import build_table
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES, find_near_duplicates
from divcon.data.index.table import FOUND, HASH_BYTES
from divcon.data.pixels.pixels import fitted_sizes
from divcon.data.sources.folder import Folder

from .bench_memory import Peak, anonymous

FILES, A_FOLDER, ROWS = 100_000, 1_000, 1_000_000
OLD = 1e9  # the time of the files, in seconds since 1970
WHITE_LINE = bytes(1)  # the filter of a row of a PNG


def main(words: Sequence[str]) -> None:
    if words[:1] == ["step"]:
        print_step(words[1], [Path(word) for word in words[2:]])
    elif words[:1] == ["rows"]:
        measured("rows", STEPS_OF_ROWS, [Path(words[1] if words[1:] else str(ROWS))])
    else:
        n = int(words[0]) if words else FILES
        with tempfile.TemporaryDirectory() as place:
            folder = Path(words[1]) if words[1:] else Path(place) / "files"
            write_files(folder, n)
            measured("files", STEPS, [folder, Path(place)])


def measured(kind: str, steps: "dict[str, Step]", words: Sequence[Path]) -> None:
    for name in steps:
        command = [sys.executable, "-m", "benchmarks.files", "step", name, *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sys.stdout.write(f"| {kind} | {done.stdout.splitlines()[-1]} |\n")
        sys.stdout.flush()


def print_step(name: str, words: Sequence[Path]) -> None:
    before, wall, processor = anonymous(), time.perf_counter(), time.process_time()
    with Peak() as peak:
        n = {**STEPS, **STEPS_OF_ROWS}[name](words)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    memory = peak.most - before
    each = f"{1e6 * wall / n:.2f} us a file ({1e6 * processor / n:.2f} of one processor)"
    sys.stdout.write(
        f"{name} | {n:,} | {wall:.1f} s | {each} | {memory / 1e6:.0f} MB | {memory / n:.0f} bytes a file\n"
    )


# files


def opened(words: Sequence[Path], known: bool = True) -> Images:
    folder, place = words
    return open_images(folder, cache=place / "cache", known=place / "run" if known else None)


def first_scan(words: Sequence[Path]) -> int:
    """As a run begins: every file is read."""
    images = opened(words)
    images.save_index(words[1] / "run")
    return images.index.found


def later_scan(words: Sequence[Path]) -> int:
    """As `divcon look` does: the verdicts of the first scan are used."""
    return opened(words, known=False).index.found


def later_start(words: Sequence[Path]) -> int:
    """As the same run does: its index is opened."""
    images = opened(words)
    assert images.fingerprint
    return images.index.found


def write_files(folder: Path, n: int) -> None:
    """Write n different gray pictures of 8 x 8 pixels, of 140 bytes each."""
    rng = np.random.default_rng(1)
    for number in range(-(-n // A_FOLDER)):
        some = folder / f"{number // 100:03}" / f"{number:06}"
        if some.is_dir():
            continue
        some.mkdir(parents=True)
        for i, pixels in enumerate(rng.integers(0, 256, (min(A_FOLDER, n - A_FOLDER * number), 8, 8), np.uint8)):
            file = some / f"picture-{number:06}-{i:03}.png"
            file.write_bytes(gray_png(pixels))
            os.utime(file, (OLD, OLD))


def gray_png(pixels: NDArray[np.uint8]) -> bytes:
    lines = b"".join(WHITE_LINE + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", *pixels.shape[::-1], 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b"")
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# rows


class MadeFiles:
    """A table of FOUND without a scan: a row is made from its number each time it is taken; one in eight looks like another."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Rows, columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([FOUND.field(name) for name in columns])
        return pa.table({name: self._column(name, rows) for name in columns}, schema)

    def _column(self, name: str, rows: Rows) -> pa.Array:
        if name == "path_bytes":
            return pa.array([b"made/%06d/picture-%09d.png" % (row // A_FOLDER, row) for row in rows.tolist()])
        if name == "hash":
            return as_binary(noise(rows, HASH_BYTES))
        if name == "thumbnail":
            twins = np.where(rows % 8 == 7, rows - 1, rows)
            return as_binary(noise(twins, THUMBNAIL_BYTES) ^ (rows % 8 == 7).astype(np.uint8)[:, None]).cast(
                pa.binary()
            )
        return pa.array(np.full(len(rows), SAME[name]), FOUND.field(name).type)


SAME = {"width": 640, "height": 480, "bytes": 50_000, "reason": "", "detail": "", "offset": -1}


def noise(rows: Rows, size: int) -> NDArray[np.uint8]:
    """Return `size` random bytes for each row, which depend on its number alone (splitmix64)."""
    words = size // 8
    x = (rows[:, None] * words + np.arange(words)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(multiplier)
    mixed: NDArray[np.uint8] = (x ^ x >> np.uint64(31)).view(np.uint8)
    return mixed


def as_binary(values: NDArray[np.uint8]) -> pa.Array:
    n, width = values.shape
    return pa.Array.from_buffers(pa.binary(width), n, [None, pa.py_buffer(np.ascontiguousarray(values))])


def table_of_rows(words: Sequence[Path]) -> int:
    """The table of an index: sorting, near-duplicates, columns, and its files. To make the rows is a part of the time."""
    n = int(words[0].name)
    with tempfile.TemporaryDirectory() as place:
        index = Index(build_table(MadeFiles(n), "keep", Path(place)))
        index.save(Path(place) / "index")
    return index.found


def pairs_of_rows(words: Sequence[Path]) -> int:
    """Near-duplicates alone, from thumbnails in a mapped file; one in eight has a twin."""
    n = int(words[0].name)
    with tempfile.TemporaryFile() as file:
        for block in blocks(n):
            file.write(b"".join(MadeFiles(n).take(block, ["thumbnail"])["thumbnail"].to_pylist()))
        file.flush()
        mapped = np.memmap(file, np.uint8, "r").reshape(-1, THUMBNAIL_BYTES)
        assert (find_near_duplicates(mapped, np.ones(n)) >= 0).mean() > 0.05
    return n


def sizes_of_rows(words: Sequence[Path]) -> int:
    """The sizes of shrunk images, which place each image in the pixel cache."""
    n = int(words[0].name)
    sizes = np.random.default_rng(0).integers(200, 800, (2, n)).astype(np.int32)

    class Sized(Images):
        widths, heights = sizes  # type: ignore[assignment]

    fitted_sizes(Sized(Folder(Path()), Index.of([]), np.arange(n)), 64)
    return n


Step = Callable[[Sequence[Path]], int]
STEPS: dict[str, Step] = {"first scan": first_scan, "later scan": later_scan, "later start of a run": later_start}
STEPS_OF_ROWS: dict[str, Step] = {"table": table_of_rows, "pairs": pairs_of_rows, "sizes": sizes_of_rows}


if __name__ == "__main__":
    main(sys.argv[1:])
