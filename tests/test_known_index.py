"""A later start of a run opens the index that the run has written, and notices each file that came, went or changed."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_collection import aged, obey_permissions, tinted

from divcon.data import images as images_module
from divcon.data.images import Images, open_images
from divcon.data.index import scan as scan_module
from divcon.data.index.known import KnownIndex
from divcon.data.index.scan import path_filter
from divcon.data.index.validate import Verdict, check_file
from divcon.data.sources import folder as folder_module
from divcon.data.sources import tar_shards
from divcon.data.sources.ahead import map_ahead
from divcon.data.sources.folder import Folder
from divcon.data.sources.source import ByteRange
from divcon.errors import DataError

N = 12


def pile(folder: Path) -> Path:
    """Make a few images with a copy, a link, a text and a link to nothing, in three folders; all are old."""
    for i in range(N):
        file = folder / f"{i % 3}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tinted(10 * i))
    shutil.copy(folder / "0/0.png", folder / "1/copy.png")
    (folder / "1/text.txt").write_text("no image")
    (folder / "2/link.png").symlink_to("../0/0.png")
    (folder / "2/dangling.png").symlink_to("nowhere.png")
    return aged(folder)


def checked_here(byte_ranges: Iterable[ByteRange], *, workers: int) -> Iterator[tuple[ByteRange, Verdict]]:
    """Check files without processes of their own, which take a second to start."""
    for byte_range in byte_ranges:
        yield byte_range, check_file(byte_range)


class Starts:
    """The starts of a run: each opens the images and keeps the index; `scans` counts the scans."""

    def __init__(self, data: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
        self.data, self.place, self.scans = data, place, 0
        scan = images_module.scan

        def counted(*args: object, **kwargs: object) -> object:
            self.scans += 1
            return scan(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(images_module, "scan", counted)
        monkeypatch.setattr(scan_module, "check_files", checked_here)

    def start(self, **selection: object) -> Images:
        known = self.place / "run/images"
        images = open_images(self.data, cache=self.place / "cache", known=known, **selection)  # type: ignore[arg-type]
        if (known / "index.arrow").exists():
            images.note_source()
        else:
            images.save_index(known)
        return images


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(pile(tmp_path / "pile"), tmp_path, monkeypatch)


def test_a_later_start_scans_nothing_and_has_the_same_index(starts: Starts) -> None:
    first = starts.start()
    shutil.rmtree(starts.place / "cache")
    again = starts.start()
    assert starts.scans == 1
    assert again.index.table.equals(first.index.table) and again.fingerprint == first.fingerprint
    everything = np.arange(len(again))
    assert again.read(everything) == first.read(everything) and again.names(everything) == first.names(everything)


CHANGES: dict[str, Callable[[Path], object]] = {
    "an image comes": lambda pile: (pile / "1/new.png").write_bytes(tinted(255)),
    "a text comes": lambda pile: (pile / "1/new.txt").write_text("no image"),
    "a copy comes": lambda pile: shutil.copy2(pile / "0/0.png", pile / "1/another.png"),
    "a folder comes with an image": lambda pile: shutil.copytree(pile / "0", pile / "new"),
    "an image goes": lambda pile: (pile / "1/4.png").unlink(),
    "a text goes": lambda pile: (pile / "1/text.txt").unlink(),
    "a folder goes": lambda pile: shutil.rmtree(pile / "1"),
    "an image is renamed": lambda pile: (pile / "1/4.png").rename(pile / "1/four.png"),
    "an image is moved": lambda pile: (pile / "1/4.png").rename(pile / "0/4.png"),
    "two images change places": lambda pile: exchange(pile / "1/4.png", pile / "1/7.png"),
    "an image is written": lambda pile: rewrite(pile / "1/4.png", tinted(255), (1e9 + 1, 1e9 + 1)),
    "an image grows": lambda pile: rewrite(pile / "1/4.png", tinted(40) + b"more", (1e9, 1e9)),
    "an image is replaced": lambda pile: os.replace(shutil.copy2(pile / "1/7.png", pile / "x"), pile / "1/4.png"),  # noqa: PTH105
    "a time goes back": lambda pile: os.utime(pile / "1/4.png", (9e8, 9e8)),
    "a link leads elsewhere": lambda pile: relink(pile / "2/link.png", "../0/3.png"),
    "a link leads nowhere": lambda pile: relink(pile / "2/link.png", "../0/none.png"),
    "a link leads somewhere": lambda pile: relink(pile / "2/dangling.png", "../0/3.png"),
    "a link to a folder comes": lambda pile: (pile / "2/up").symlink_to(shutil.copytree(pile / "0", pile.parent / "o")),
    "an image becomes a fifo": lambda pile: ((pile / "1/4.png").unlink(), os.mkfifo(pile / "1/4.png")),
}


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def rewrite(file: Path, data: bytes, times: tuple[float, float]) -> None:
    file.write_bytes(data)
    os.utime(file, times)


def relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_came_went_or_changed_is_noticed(
    starts: Starts, change: Callable[[Path], object], tmp_path: Path
) -> None:
    starts.start()
    change(starts.data)
    again = starts.start()
    assert starts.scans == 2
    afresh = open_images(starts.data, cache=tmp_path / "other cache")
    assert again.index.table.equals(afresh.index.table) and again.fingerprint == afresh.fingerprint


def test_an_index_that_lists_other_names_is_not_taken_for_that_of_the_source(starts: Starts) -> None:
    starts.start()
    (starts.data / "1/4.png").rename(starts.data / "1/four.png")
    for _ in range(2):
        assert b"1/four.png" in starts.start().index.table["path_bytes"].to_pylist()
    (starts.data / "1/four.png").rename(starts.data / "1/4.png")
    starts.start()
    assert starts.scans == 3  # as it was when the index was written


def test_an_image_that_was_found_changed_is_looked_at_by_the_next_start(starts: Starts) -> None:
    starts.start()
    file = starts.data / "1/4.png"
    as_long = next(tinted(red) for red in range(111, 256) if len(tinted(red)) == file.stat().st_size)
    rewrite(file, as_long, (1e9, 1e9))
    images = starts.start()
    with pytest.raises(DataError, match=r"1/4\.png .* has changed"):
        images.subset(np.arange(len(images))).read(np.arange(len(images)))
    again = starts.start()
    assert starts.scans == 2 and again.fingerprint != images.fingerprint
    assert len(again.read(np.arange(len(again)))) == len(again)


def test_files_written_just_now_are_scanned_again_and_then_known(starts: Starts) -> None:
    os.utime(starts.data / "1/4.png")
    starts.start()
    starts.start()
    assert starts.scans == 2
    os.utime(starts.data / "1/4.png", (1e9, 1e9))
    for _ in range(3):
        starts.start()
    assert starts.scans == 3


@pytest.mark.parametrize("name", ["index.arrow", "rejected.csv", "duplicates.csv", "MANIFEST.json"])
def test_a_damaged_index_is_not_opened(starts: Starts, name: str) -> None:
    first = starts.start()
    file = starts.place / "run/images" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert starts.start().index.table.equals(first.index.table) and starts.scans == 2


@pytest.mark.parametrize(
    "other", [{"exclude": ["1/*"]}, {"include": ["*.png"]}, {"near_duplicates": "drop"}, {"limit": 3}]
)
def test_another_selection_is_scanned(starts: Starts, other: dict[str, object]) -> None:
    starts.start()
    again = starts.start(**other)
    assert starts.scans == 2
    assert len(again) == min(len(open_images(starts.data, cache=starts.place / "cache", **other)), N)  # type: ignore[arg-type]


def test_a_file_that_may_not_be_read_is_tried_at_each_start(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]}
from pathlib import Path
import pytest
from test_known_index import Starts
starts = Starts(Path(sys.argv[1]), Path(sys.argv[2]), pytest.MonkeyPatch())
starts.start()
print(starts.start().index.reasons.get("permission_denied", 0), starts.scans)
"""

    def asked(place: str) -> list[str]:
        command = [sys.executable, "-c", code, str(data), str(tmp_path / place)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=obey_permissions
        ).stdout.split()

    data = pile(tmp_path / "pile")
    (data / "closed").mkdir(mode=0)
    assert asked("a") == ["1", "1"]  # what a folder says is asked at each start
    (data / "1/4.png").chmod(0)
    assert asked("b") == ["2", "2"]
    (data / "closed").chmod(0o700)


def test_no_header_of_a_shard_is_read_again_until_the_shard_changes(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, read = starts.place / "shards", list[str]()
    shards.mkdir()
    for number in range(3):
        with tarfile.open(shards / f"{number}.tar", "w") as tar:
            for file in sorted(starts.data.glob(f"{number}/*[0-9].png")):
                tar.add(file, file.name)
    aged(shards)
    members = tar_shards.members

    def noted(file: io.BufferedReader, size: int) -> object:
        read.append("shard")
        return members(file, size)

    monkeypatch.setattr(tar_shards, "members", noted)
    starts.data = shards / "{0..2}.tar"
    first = starts.start()
    again = starts.start()
    assert (starts.scans, len(read)) == (1, 3) and again.index.table.equals(first.index.table)
    everything = np.arange(N)
    assert again.read(everything) == first.read(everything)
    os.utime(shards / "1.tar", (1e9 + 1, 1e9 + 1))
    starts.start()
    starts.data = shards / "{0..1}.tar"
    assert len(starts.start()) < N and starts.scans == 3


def test_a_slow_disk_is_asked_by_threads_and_answers_the_same(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> list[object]:
        return list(Folder(starts.data).entries(path_filter((), ())))

    expected = listed()
    monkeypatch.setattr(folder_module, "BATCH", 1)
    monkeypatch.setattr(folder_module, "SLOW", -1.0)
    assert listed() == expected and len(expected) == N + 4


def test_results_come_in_order_and_an_error_comes_through_where_it_was_made() -> None:
    def half(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x // 2

    for seconds in (-1.0, 1e9):
        assert list(map_ahead(half, range(0, 400, 2), 3, seconds)) == list(range(200))
        results = map_ahead(half, [0, 2, 4, 7, 8], 3, seconds)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="7"):
            next(results)


def test_a_folder_without_an_index_is_known_to_nobody(tmp_path: Path) -> None:
    images = open_images(pile(tmp_path / "pile"), cache=tmp_path / "cache", known=tmp_path / "none")
    assert isinstance(images.known, KnownIndex) and images.known.open() is None
    images.known.forget()
    assert not (tmp_path / "none").exists()
