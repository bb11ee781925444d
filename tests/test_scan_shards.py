"""Shards of the first look at a collection: joined by whoever finishes last, to the index that one process makes."""

import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import processes
import pytest
from test_collection import aged, tinted
from test_known_index import CHANGES, pile

import divcon
from divcon import failpoints
from divcon.api import run_plan
from divcon.data.images import open_images
from divcon.data.index import build_table, kept_pairs
from divcon.data.index import scan as scan_module
from divcon.data.index.validate import Verdict, check_file
from divcon.data.sources.open_source import open_source
from divcon.data.sources.source import ByteRange
from divcon.errors import DataError, InputError, StoppedError, UsageError

FILES = ["MANIFEST.json", "duplicates.csv", "index.arrow", "rejected.csv"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read. They are checked in this process: others take a second to start."""
    names = list[str]()

    def checked(byte_ranges: Iterable[ByteRange], *, workers: int) -> Iterator[tuple[ByteRange, Verdict]]:
        for byte_range in byte_ranges:
            names.append(os.fsdecode((byte_range.name or byte_range.file).rpartition(b"/")[2]))
            crashed = Verdict(reason="decoder_crashed", detail="exit code -11")
            yield byte_range, crashed if names[-1] == "crash.png" else check_file(byte_range)

    monkeypatch.setattr(scan_module, "check_files", checked)
    return names


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images with copies, near-duplicates, links, one link with another extension, and files that are no images."""
    folder = pile(tmp_path / "pile")
    for i, name in enumerate(["near.png", "crash.png"]):
        (folder / f"{i}" / name).write_bytes(tinted(41 + i))
    (folder / "0/other.jpg").symlink_to("../2/5.png")
    (folder / "2/cut.png").write_bytes(tinted(99)[:-20])
    return aged(folder)


def tars(data: Path, folder: Path) -> str:
    """Put each of the folders into a tar, and return the pattern of all."""
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            tar.add(data / f"{number}", f"{number}")
    (folder / "3.tar").write_bytes(b"no tar")
    aged(folder)
    return str(folder / "{0..3}.tar")


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


class Shards:
    """Looks at `data` in so many shards, with one cache."""

    def __init__(self, data: Path | str, place: Path, count: int):
        self.data, self.place, self.count = data, place, count
        self.cache, self.out = place / "shared", place / "out"

    def finish(self, number: int, **selection: object) -> list[str] | None:
        shard = f"{number}/{self.count}"
        return divcon.index(self.data, out=self.out, cache=self.cache, shard=shard, **selection).waiting_for  # type: ignore[arg-type]

    def made(self) -> list[bytes]:
        return bytes_of(self.out)

    def by_one_process(self) -> list[bytes]:
        """The files of the index that a process makes with a cache of its own."""
        out, cache = self.place / "whole", self.place / "cache of one"
        for folder in (out, cache):
            shutil.rmtree(folder, ignore_errors=True)
        divcon.index(self.data, out=out, cache=cache)
        return bytes_of(out)


ORDERS = [[1], [2, 1], [3, 1, 2], [*range(25, 0, -1)]]


@pytest.mark.parametrize("order", ORDERS, ids=len)
@pytest.mark.parametrize("kind", ["a folder", "tars"])
def test_shards_in_any_order_are_joined_by_the_last_to_the_index_of_one_process(
    order: list[int], kind: str, data: Path, tmp_path: Path, read: list[str]
) -> None:
    """With 25 shards some are empty."""
    shards = Shards(data if kind == "a folder" else tars(data, tmp_path / "tars"), tmp_path, len(order))
    left = sorted(order)
    for number in order:
        assert not shards.out.exists()
        left.remove(number)
        assert shards.finish(number) == ([f"{other}/{len(order)}" for other in left] or None)
    in_shards = read[:]
    read.clear()
    assert shards.made() == shards.by_one_process()
    assert [*shards.cache.glob("index/*")] == [*shards.cache.glob("index/*.arrow")]
    twice = ["crash.png"]  # a file that crashed a decoder is tried again by the last one
    twice += [
        name for name in in_shards if in_shards.count(name) > read.count(name) and name.startswith(("link", "0.p"))
    ]
    assert sorted(in_shards) == sorted([*read, *twice])


def test_a_run_then_reads_no_file_and_has_the_images_of_one_process(
    data: Path, tmp_path: Path, read: list[str]
) -> None:
    (data / "1/crash.png").unlink()
    for i in range(8):
        (data / f"1/more {i}.png").write_bytes(tinted(150 + i))
    shards = Shards(aged(data), tmp_path, 2)
    assert (shards.finish(1), shards.finish(2)) == (["2/2"], None)
    read.clear()
    options = {"recipe": "simclr", "epochs": 1, "size": 16, "cache": str(shards.cache)}
    planned = run_plan.prepare_run(data, tmp_path / "run", options)
    assert read == []
    assert planned.images.fingerprint == open_images(data, cache=tmp_path / "other").fingerprint


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_collection_that_changes_between_the_shards_is_refused_until_its_shard_is_read_again(
    change: Callable[[Path], object], data: Path, tmp_path: Path, read: list[str]
) -> None:
    """The change is in one of two shards: so one of the two is refused that are finished before it."""
    refused = 0
    for last in (1, 2):
        place = tmp_path / f"{last}"
        shards = Shards(shutil.copytree(data, place / "pile", symlinks=True), place, 2)
        shards.finish(3 - last)
        change(place / "pile")
        try:
            shards.finish(last)
        except DataError as error:
            assert f"came, went or changed since they were read for shard {3 - last}/2: type" in str(error)
            assert not shards.out.exists()
            refused += 1
            assert shards.finish(3 - last) is None
        assert shards.made() == shards.by_one_process()
    assert refused


def test_several_shards_that_changed_are_named_and_what_did_not_is_not_read_again(
    data: Path, tmp_path: Path, read: list[str]
) -> None:
    shards = Shards(data, tmp_path, 3)
    for number in (1, 2):
        shards.finish(number)
    for i in range(20):
        (data / f"1/more {i}.png").write_bytes(tinted(150 + i))
    aged(data)
    with pytest.raises(
        DataError, match=r"for shard 1/3, 2/3: type the command with --shard 1/3 again, and so for each"
    ):
        shards.finish(3)
    read.clear()
    with pytest.raises(DataError, match="for shard 2/3: type the command with --shard 2/3 again"):
        shards.finish(1)
    assert shards.finish(2) is None
    assert {name for name in read if "more" not in name} <= {"crash.png"}
    assert shards.made() == shards.by_one_process()


def test_a_finished_shard_is_not_read_again(data: Path, tmp_path: Path, read: list[str]) -> None:
    shards = Shards(data, tmp_path, 2)
    shards.finish(1)
    read.clear()
    assert shards.finish(1) == ["2/2"] and read == []


def test_a_shard_that_is_stopped_goes_on_where_it_was(
    data: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(why: str) -> None:
        if len(read) == 5:
            raise StoppedError(why)

    shards = Shards(data, tmp_path, 1)
    monkeypatch.setattr(scan_module.signals, "stop_if_requested", stop)
    with pytest.raises(StoppedError, match="are not checked again"):
        shards.finish(1)
    assert len(read) == 5
    read.append("and then")
    assert shards.finish(1) is None and not {*read[:5]} & {*read[6:]} - {"crash.png"}
    assert shards.made() == shards.by_one_process()


POINTS = [
    "scan.listed",
    "scan.checked",
    "file.renamed",
    "file.synced:2",
    "file.begun:3",
    "lock.freed",
    "file.renamed:4",
]
FEW = ("scan.checked", "file.renamed")


@pytest.mark.parametrize(
    "point", [*FEW, *(pytest.param(each, marks=pytest.mark.slow) for each in POINTS if each not in FEW)]
)
def test_after_a_kill_the_shards_are_joined_to_the_same_index(data: Path, tmp_path: Path, point: str) -> None:
    words = ["index", str(data), f"out={tmp_path / 'out'}", f"cache={tmp_path / 'shared'}", "--shard"]
    assert processes.done([*words, "1/2"])[0] == 0
    code, said = processes.done([*words, "2/2"], {failpoints.VARIABLE: point})
    assert code == -signal.SIGKILL, said
    for number in (2, 1):
        if not (tmp_path / "out/MANIFEST.json").exists():
            assert processes.done([*words, f"{number}/2"])[0] == 0
    assert bytes_of(tmp_path / "out") == Shards(data, tmp_path, 2).by_one_process()


def test_shards_that_are_read_at_the_same_time_are_joined_once(data: Path, tmp_path: Path) -> None:
    words = ["index", str(data), f"out={tmp_path / 'out'}", f"cache={tmp_path / 'shared'}", "--shard"]
    ends = [command.end() for command in [processes.Command([*words, f"{number}/3"]) for number in (1, 2, 3)]]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert sum("images, fingerprint" in said for _, said in ends) == 1
    assert bytes_of(tmp_path / "out") == Shards(data, tmp_path, 3).by_one_process()


def test_near_duplicates_are_paired_once_by_the_last_shard(
    data: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paired = list[int]()
    find = build_table.find_near_duplicates

    def counted(thumbnails: object, aspects: object) -> object:
        paired.append(len(read))
        return find(thumbnails, aspects)  # type: ignore[arg-type]

    monkeypatch.setattr(build_table, "find_near_duplicates", counted)
    monkeypatch.setattr(kept_pairs, "KEPT_FROM", 0)
    shards = Shards(data, tmp_path, 3)
    for number in (1, 2, 3):
        shards.finish(number)
    assert len(open_images(data, cache=shards.cache)) > 0 and len(paired) == 1
    assert b"near_kept" in shards.made()[1]


def test_shards_of_another_selection_do_not_belong_to_each_other(data: Path, tmp_path: Path, read: list[str]) -> None:
    shards = Shards(data, tmp_path, 2)
    shards.finish(1)
    with pytest.raises(DataError, match=r"shard 1/2 in .*1-of-2 does not belong to the others \(another include="):
        shards.finish(2, exclude="2/*")
    assert shards.finish(1, exclude="2/*") is None


def test_a_damaged_shard_is_named_and_read_again(data: Path, tmp_path: Path, read: list[str]) -> None:
    shards = Shards(data, tmp_path, 2)
    shards.finish(1)
    (file,) = shards.cache.glob("index/*.shards/1-of-2/verdicts.arrow")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"shard 1/2 .*expected sha256"):
        shards.finish(2)
    assert shards.finish(1) is None and shards.made() == shards.by_one_process()


def test_what_an_earlier_scan_has_read_is_not_read_for_a_shard_and_its_other_verdicts_stay(
    data: Path, tmp_path: Path, read: list[str]
) -> None:
    (data / "1/crash.png").unlink()
    pattern = tars(data, tmp_path / "tars")
    cache = tmp_path / "shared"
    divcon.index(pattern, cache=cache)
    shutil.copy2(tmp_path / "tars/0.tar", tmp_path / "tars/4.tar")
    read.clear()
    shards = Shards([str(tmp_path / f"tars/{i}.tar") for i in (0, 1, 4)], tmp_path, 2)  # type: ignore[arg-type]
    assert (shards.finish(1), shards.finish(2)) == (["2/2"], None)
    assert len(read) == len({*read}) > 0 and "1.png" not in read
    read.clear()
    divcon.index(str(tmp_path / "tars/{0..4}.tar"), cache=cache)
    assert read == []


def test_a_collection_without_an_image_is_refused_as_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images found"):
        Shards(tmp_path / "empty", tmp_path, 1).finish(1)


def test_a_text_that_is_no_shard_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1/8 to 8/8"):
        divcon.index(tmp_path / "nowhere", shard="0/4")


def test_each_file_is_in_one_share_of_its_source(data: Path, tmp_path: Path) -> None:
    for source in (open_source([data]), open_source([Path(tars(data, tmp_path / "tars"))])):
        whole = sorted(source.entries(lambda path: True))
        for count in (1, 2, 3, 7):
            parts = [sorted(source.share(i, count).entries(lambda path: True)) for i in range(count)]
            assert sorted(chain.from_iterable(parts)) == whole and (count == 1 or max(map(len, parts)) < len(whole))
            assert {source.share(i, count).key for i in range(count)} == {source.key}
