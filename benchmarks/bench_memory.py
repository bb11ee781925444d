"""Memory of a training for each image of the collection, without the pages that are mapped from files.

    python -m benchmarks.bench_memory

Collections of 10^4, 10^5 and 10^6 images are made without files: an index, and a pixel cache of tiny pictures. For each, a
process opens it as a run does and trains for some dozens of steps. The figure is the peak of RssAnon: a mapped page
belongs to its file, and is released when memory is short.
"""

import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from divcon.data.images import Images
from divcon.data.index.index import Index
from divcon.data.index.table import SCHEMA
from divcon.data.pixels.pixel_cache import BLOCK
from divcon.data.sources.folder import Folder
from divcon.files.integrity import write_json

from .pairs import Row, row, save

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 3
SIDE = 8  # of the pictures
STEPS, BATCH = 48, 64
LIMIT = 64  # bytes an image

Peaks = dict[str, int]  # bytes, by what was done


def measure(sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            write_collection(Path(folder) / str(n), n)
        peaks = [{n: held(Path(folder) / str(n)) for n in sizes} for _ in range(rounds)]
    for part, name in PARTS.items():
        most, least = sizes[-1], sizes[0]
        each = [(found[most][part] - found[least][part]) / (most - least) for found in peaks]
        note = ", ".join(f"{n:,} images {statistics.median(p[n][part] for p in peaks) / 1e6:.0f} MB" for n in sizes)
        yield row(
            name, "no growth but for mapped pages", statistics.median(each), min(each), max(each), LIMIT, note,
            unit="bytes an image", at_most=True,
        )  # fmt: skip


PARTS = {
    "opening": "peak while opening the index, its fingerprint and the pixels",
    "training": "peak while training",
    "whole": "peak of the whole process",
}


def write_collection(folder: Path, n: int) -> None:
    """The index of n images, and the cache of their pixels, as if there had been files."""
    images = Images(Folder(folder), Index(table(n)))
    images.index.save(folder / "images")
    cache = cache_of(images, folder)
    cache.mkdir(parents=True)
    size = 3 * SIDE * SIDE * n
    with (cache / "pixels.u8").open("wb") as file:
        rng = np.random.default_rng(0)
        for begin in range(0, size, 2**24):
            file.write(rng.bytes(min(2**24, size - begin)))
    block = 3 * SIDE * SIDE * BLOCK
    with (cache / "pixels.u8").open("rb") as file:
        checksums = [hashlib.sha256(part).hexdigest() for part in iter(lambda: file.read(block), b"")]
    write_json(cache / "pixels.json", {"bytes": size, "block": BLOCK, "sha256": checksums})


def table(n: int) -> pa.Table:
    """As a scan gives it: names, sizes, and hashes in their order."""
    names = [b"photos/%08d.png" % i for i in range(n)]
    hashes = sorted(np.random.default_rng(1).bytes(32) for _ in range(n))
    same = {
        "width": SIDE,
        "height": SIDE,
        "offset": -1,
        "bytes": 400,
        "status": "used",
        "reason": "",
        "detail": "",
        "duplicate_of": None,
    }
    columns = {"path_bytes": names, "hash": hashes, **{name: [value] * n for name, value in same.items()}}
    return pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)


def cache_of(images: Images, folder: Path) -> Path:
    """The folder in which `divcon.data.pixels.pixel_cache` keeps the pixels of these images."""
    from divcon.data.decoding.formats import DECODER_VERSIONS
    from divcon.data.pixels.pixel_cache import VERSION
    from divcon.files.integrity import digest

    return folder / "cache" / "pixels" / digest(f"{images.fingerprint} {SIDE} {VERSION} {DECODER_VERSIONS}")


def held(folder: Path) -> Peaks:
    """The memory that a process held while it trained on the collection."""
    command = [sys.executable, "-m", "benchmarks.bench_memory", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {part: int(peak) for part, peak in json.loads(done.stdout.splitlines()[-1]).items()}


def trained(folder: Path) -> Peaks:
    """Open the collection and train on it, as a run does."""
    from divcon.data.pixels.pixel_cache import open_pixels
    from divcon.data.views.presets import mild
    from divcon.machine import Machine
    from divcon.methods.simclr import SimCLR
    from divcon.nets.encoder import EncoderSpec, build
    from divcon.nets.trained import InputSpec
    from divcon.runs.stage import StageContext
    from divcon.train.loop import Training, fit

    with Peak() as opening:
        images = Images(Folder(folder), Index.load(folder / "images"))
        pixels = open_pixels(images, SIDE, cache=folder / "cache", cache_gb=100, workers=1)
    with Peak() as training, tempfile.TemporaryDirectory() as place, Machine().use():
        work = StageContext(Path(place), "base", Machine(), folder / "cache")
        method = SimCLR(build(EncoderSpec("slim10_w8"), 16), len(images), hidden=64, dim=32)
        fit(work, method, pixels, Training(STEPS * BATCH, BATCH, "sgd"), mild(16), InputSpec(16))
    return {"opening": opening.most, "training": training.most, "whole": max(opening.most, training.most)}


class Peak:
    """The most anonymous memory while it lasts, looked at every few milliseconds."""

    def __enter__(self) -> "Peak":
        self.most, self.over = anonymous(), threading.Event()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.005):
            self.most = max(self.most, anonymous())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.watcher.join()
        self.most = max(self.most, anonymous())


def anonymous() -> int:
    """Bytes of this process's memory that are no file's."""
    found = re.search(r"^RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "RssAnon is Linux's"
    return int(found[1]) * 1024


def main() -> None:
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(trained(Path(sys.argv[1]))) + "\n")
    else:
        save("memory", measure())


if __name__ == "__main__":
    main()
