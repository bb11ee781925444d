"""Millions of files: tables in batches give what tables in memory give, and take little memory a file."""

import io
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_collection import served
from test_known_index import checked_here, pile

from divcon.data.decoding.decode import fitted_size
from divcon.data.images import Images, open_images
from divcon.data.index import batched, build_table, kept_pairs, near_duplicates, one_batch, scan
from divcon.data.index.batched import BatchedTable, GrowingTable, batch_of
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES, find_near_duplicates
from divcon.data.index.table import SCHEMA, Found, NearDuplicates, positions_of
from divcon.data.index.worker_pool import BATCH, check_files
from divcon.data.pixels.pixels import fitted_sizes
from divcon.data.sources.folder import Folder
from divcon.data.sources.names import is_hidden
from divcon.data.sources.source import ByteRange

ROOT = Path(__file__).parents[1]
SOME = pa.schema([("text", pa.binary()), ("number", pa.int64()), ("hash", pa.binary(4)), ("word", pa.string())])


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and blocks so small that a few files fill many of them."""
    monkeypatch.setattr(batched, "ROWS", 8)
    monkeypatch.setattr(build_table, "ROWS", 8)
    monkeypatch.setattr(build_table, "WRITTEN_ROWS", 16)
    monkeypatch.setattr(near_duplicates, "BLOCK", 8)


def some_rows(n: int) -> list[tuple[object, ...]]:
    rng = random.Random(n)
    return [
        (
            rng.randbytes(rng.randrange(9)),
            rng.randrange(99),
            rng.choice([None, rng.randbytes(4)]),
            rng.choice("abc") * 3,
        )
        for _ in range(n)
    ]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100])
def test_a_growing_table_has_the_rows_that_were_added_in_any_order(tmp_path: Path, n: int) -> None:
    rows = some_rows(n)
    growing = GrowingTable(SOME, tmp_path)
    assert [growing.append(row) for row in rows] == list(range(n))
    table, whole = growing.table(), pa.Table.from_batches([batch_of(rows, SOME)])
    for places in (np.arange(n), np.arange(n)[::-1], np.random.default_rng(0).integers(0, max(n, 1), 50)[: 50 * n]):
        assert table.take(places).equals(whole.take(pa.array(places)))
        assert table.take(places, ["hash", "text"]).equals(whole.select(["hash", "text"]).take(pa.array(places)))
    assert list(tmp_path.iterdir()) == []  # the file has no name


def ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 32, 100])
def test_blocks_in_one_batch_have_the_bytes_of_a_table_in_memory(tmp_path: Path, n: int) -> None:
    whole = pa.Table.from_batches([batch_of(some_rows(n), SOME)])
    blocks = [whole.slice(begin, 16) for begin in range(0, n, 16)]
    together = one_batch.in_one_batch(iter(blocks), SOME, tmp_path)
    together.validate(full=True)
    assert together.equals(whole) and ipc(together) == ipc(whole if n else SOME.empty_table())


def test_texts_that_are_too_long_for_one_batch_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_batch, "MAX_BYTES", 500)
    whole = pa.Table.from_batches([batch_of(some_rows(400), SOME)])
    together = one_batch.in_one_batch((whole.slice(begin, 16) for begin in range(0, 400, 16)), SOME, tmp_path)
    together.validate(full=True)
    assert together.equals(whole) and len(together.to_batches()) > 2


def slow_rows(found: list[Found], near: NearDuplicates) -> list[tuple[object, ...]]:
    """The rows of an index, with a dictionary and an object for each file."""
    found = sorted(found, key=lambda file: file.path)
    images: dict[bytes, Found] = {}
    for file in sorted(found, key=lambda file: is_hidden(file.path)):
        if not file.reason:
            images.setdefault(file.hash or b"", file)
    distinct = [images[digest] for digest in sorted(images)]
    shown = [file for file in distinct if file.thumbnail]
    thumbnails = np.frombuffer(b"".join(file.thumbnail for file in shown), np.uint8).reshape(-1, THUMBNAIL_BYTES)
    originals = find_near_duplicates(thumbnails, np.array([file.width / file.height for file in shown]))
    like = {file.hash: shown[at].hash for file, at in zip(shown, originals) if at >= 0}
    used = [file for file in distinct if near == "keep" or file.hash not in like]
    names, hashes = {file.path for file in used}, {file.hash for file in used}
    copies = [file for file in found if not file.reason and file.path not in names]
    rows = [(file, "used", like.get(file.hash)) for file in used]
    rows += [(file, "duplicate", file.hash if file.hash in hashes else like[file.hash]) for file in copies]
    rows += [(file, "rejected", None) for file in found if file.reason]
    return [
        (f.path, f.width, f.height, f.offset, f.size, f.hash, status, f.reason, f.detail, same_as)
        for f, status, same_as in rows
    ]


def any_files(seed: int) -> list[Found]:
    """Return files with copies, near-duplicates and rejected ones among them, in any order."""
    rng = random.Random(seed)
    n = rng.choice([1, 3, 40, 200])
    hashes = [rng.randbytes(31) + rng.choice([b"\0", b"a"]) for _ in range(rng.choice([1, 5, n]))]
    thumbnails = [rng.randbytes(THUMBNAIL_BYTES) for _ in range(rng.choice([1, len(hashes)]))]
    shown = {digest: (rng.choice([9, 9, 40]), 9, 7, rng.choice([rng.choice(thumbnails), b""])) for digest in hashes}
    found = []
    for i in range(n):
        path, digest = rng.choice([b".", b"a", b"a/", b"\xff"]) + b"%d" % i, rng.choice(hashes)
        width, height, size, thumbnail = shown[digest]
        bad = Found(path, size=3, hash=rng.choice([None, digest]), reason="corrupt", detail="at byte 3")
        found.append(bad if rng.random() < 0.2 else Found(path, width, height, size, digest, thumbnail=thumbnail))
    return found


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("near", ["keep", "drop"])
def test_an_index_has_the_rows_that_a_slow_loop_gives(near: NearDuplicates) -> None:
    for seed in range(60):
        found = any_files(seed)
        expected = pa.table(dict(zip(SCHEMA.names, zip(*slow_rows(found, near)))), SCHEMA)
        table = Index.of(found, near).table
        assert table.equals(expected) and ipc(table) == ipc(expected), seed


def saved(images: Images, folder: Path) -> dict[str, bytes]:
    images.index.save(folder)
    return {name: (folder / name).read_bytes() for name in ("index.arrow", "rejected.csv", "duplicates.csv")}


def test_a_scan_in_small_batches_gives_the_bytes_of_one_in_large_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(scan, "check_files", checked_here)
    folder = pile(tmp_path / "pile")
    expected = saved(open_images(folder, cache=tmp_path / "large"), tmp_path / "expected")
    request.getfixturevalue("small_batches")
    for turn in range(3):  # without a cache of scans, and twice with one
        images = open_images(folder, cache=tmp_path / "small")
        assert saved(images, tmp_path / f"{turn}") == expected
        if turn:
            assert not any(path for path in [*tmp_path.glob("small/*")] if path.name != "index")


def test_positions_of_hashes_are_found_whatever_zeros_they_end_in() -> None:
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 2, (300, 32), np.uint8) * np.uint8(255), axis=0)
    places = rng.integers(0, len(hashes), 1000)
    assert np.array_equal(positions_of(hashes[places], hashes), places)


def test_images_whose_short_digests_are_equal_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    thumbnails = rng.integers(0, 256, (40, THUMBNAIL_BYTES), np.uint8)[rng.integers(0, 40, 300)]
    aspects = rng.choice([1.0, 1.5], 300)
    expected = find_near_duplicates(thumbnails, aspects)
    monkeypatch.setattr(near_duplicates, "MULTIPLIERS", np.zeros(15, np.uint64))
    assert np.array_equal(find_near_duplicates(thumbnails, aspects), expected) and (expected >= 0).sum() > 200


HELD = """
import sys, tracemalloc
from pathlib import Path
import pyarrow as pa
from benchmarks.files import MadeFiles
from divcon.data.index import batched, build_table, near_duplicates
batched.ROWS = build_table.ROWS = build_table.WRITTEN_ROWS = near_duplicates.BLOCK = 1024
tracemalloc.start()
build_table.build_table(MadeFiles(int(sys.argv[1])), "keep", Path(sys.argv[2]))
print(tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory())
"""


def test_the_table_of_an_index_takes_less_than_100_bytes_of_memory_a_file(tmp_path: Path) -> None:
    def held(n: int) -> int:
        """Return the most bytes that Python, numpy and Arrow hold."""
        command = [sys.executable, "-c", HELD, str(n), str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        return int(subprocess.run(command, stdout=subprocess.PIPE, env=env, check=True).stdout)

    assert 40 < (held(60_000) - held(20_000)) / 40_000 < 100


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images among which near-duplicates were looked for."""
    numbers = list[int]()
    find = find_near_duplicates

    def noted(thumbnails: np.ndarray, aspects: np.ndarray) -> np.ndarray:
        numbers.append(len(thumbnails))
        return find(thumbnails, aspects)

    monkeypatch.setattr(build_table, "find_near_duplicates", noted)
    monkeypatch.setattr(kept_pairs, "KEPT_FROM", 1)
    monkeypatch.setattr(scan, "check_files", checked_here)
    return numbers


def test_near_duplicates_are_paired_once(tmp_path: Path, paired: list[int]) -> None:
    folder = pile(tmp_path / "pile")
    tables = [open_images(folder, cache=tmp_path / "cache").index.table for _ in range(3)]
    assert len(paired) == 1 and tables[0].equals(tables[1]) and tables[1].equals(tables[2])
    (folder / "0/0.png").unlink()
    (folder / "0/3.png").unlink()
    fewer = open_images(folder, cache=tmp_path / "cache").index.table
    assert len(paired) == 2 and fewer.equals(open_images(folder, cache=tmp_path / "other").index.table)


def test_damaged_pairs_are_not_believed(tmp_path: Path, paired: list[int]) -> None:
    folder = pile(tmp_path / "pile")
    table = open_images(folder, cache=tmp_path / "cache").index.table
    (file,) = (tmp_path / "cache/near_duplicates").iterdir()
    good = file.read_bytes()
    for bad in (b"", good[:40], good[:-1], good[:33] + bytes([good[33] ^ 1]) + good[34:], good + good):
        file.write_bytes(bad)
        paired.clear()
        assert open_images(folder, cache=tmp_path / "cache").index.table.equals(table) and len(paired) == 1
        assert file.read_bytes() == good


def test_sizes_of_shrunk_images_are_those_of_each_image_alone() -> None:
    widths, heights = np.random.default_rng(0).integers(8, 300, (2, 2000)).astype(np.int32)

    class Sized(Images):
        def __init__(self, n: int):
            super().__init__(Folder(Path()), Index.of([]), np.arange(n))
            self.__dict__ |= {"widths": widths[:n], "heights": heights[:n]}

    for n in (0, 1, 2000):
        each = [fitted_size(int(width), int(height), 50) for width, height in zip(widths[:n], heights[:n])]
        found = fitted_sizes(Sized(n), 50)
        assert [*zip(found[1].tolist(), found[0].tolist())] == each


def test_files_are_given_to_decoders_as_they_are_wanted() -> None:
    made = list[int]()

    def many() -> Iterator[ByteRange]:
        for i in range(100_000):
            made.append(i)
            yield ByteRange(b"%d" % i)

    command = served("def check(byte_range):\n return Verdict(size=int(byte_range.file))")
    checked = check_files(many(), workers=2, command=command)
    assert next(checked)[0] in [ByteRange(b"%d" % i) for i in range(2 * BATCH)]
    checked.close()
    assert len(made) < 50_000


def test_an_error_of_listing_ends_a_scan_with_it() -> None:
    def broken() -> Iterable[ByteRange]:
        for i in range(50):
            yield ByteRange(b"%d" % i)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(check_files(broken(), workers=1, command=served("def check(byte_range):\n return Verdict()")))


def test_a_table_without_rows_has_its_columns() -> None:
    assert BatchedTable(SOME, []).take(np.empty(0, np.int64), ["hash"]).schema.names == ["hash"]
