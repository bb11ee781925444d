"""The time before a command does anything, in new processes, with files in the disk's cache.

python -m benchmarks.bench_startup
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from divcon.data import synthetic

from .pairs import Row, row, save, seconds

TIMES = 7
CLI = ("-m", "divcon")
RUN = ("recipe=moclr", "epochs=1", "encoder=slim10_w8", "size=16", "precision=fp32")
FIRST_BATCH = """
import numpy as np
from divcon.data.pixels.packed import PackedImages
from divcon.data.views.presets import PRESETS
from divcon.data.views.render import views_of
for preset in PRESETS.values():
    for view in preset(32):
        views_of(view, PackedImages.from_arrays([np.zeros((48, 40, 3), np.uint8)] * 64), np.arange(64), (0,), np.arange(64), 2)
"""


def measure(times: int = TIMES) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        yield clock("a Python that does nothing", ("-c", "pass"), place, times)
        yield clock("import divcon", ("-c", "import divcon"), place, times)
        yield clock("divcon --help", (*CLI, "--help"), place, times)
        yield from views(place, times)
        images = synthetic.make_collection(place / "images", 160, size=32)
        run = (*CLI, "run", str(images), f"out={place / 'run'}", *RUN)
        yield clock("divcon run on a folder that is finished", run, place, times)


def views(place: Path, times: int) -> Iterator[Row]:
    """The first batch of every preset's views: compiled in the first process, read from disk in the others."""
    compiling = seconds(lambda: python(("-c", FIRST_BATCH), place))
    files = compiled(place)
    yield row("the first batch of views, ever", "the clock", *[compiling] * 3, note="compiled, then kept", unit="s")
    yield clock("the first batch of views of a later process", ("-c", FIRST_BATCH), place, times)
    new = len(compiled(place) - files)
    yield row(
        "kernels that a later process compiles again", "none", new, new, new, 0, f"of {len(files)} files kept",
        unit="files", at_most=True,
    )  # fmt: skip


def compiled(place: Path) -> set[tuple[str, int]]:
    """The files of numba's cache, each with the time at which it was written."""
    return {(str(file), file.stat().st_mtime_ns) for file in (place / "cache").rglob("*.nbc")}


def clock(name: str, words: Sequence[str], place: Path, times: int) -> Row:
    """Seconds of a command from beginning to end, after one that warms the files."""
    python(words, place)
    taken = [seconds(lambda: python(words, place)) for _ in range(times)]
    return row(name, "the clock", statistics.median(taken), min(taken), max(taken), unit="s")


def python(words: Sequence[str], place: Path) -> None:
    """This Python in a process of its own, with a cache of the bench's own."""
    environment = {**os.environ, "DIVCON_CACHE": str(place / "cache"), "NUMBA_CACHE_DIR": str(place / "cache/numba")}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)


def main() -> None:
    save("startup", measure())


if __name__ == "__main__":
    main()
