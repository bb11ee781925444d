"""Images are the same by their bytes and folders by their real paths: a file system may give one number twice."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divcon.data.images import open_images
from divcon.data.index import scan as scanning
from divcon.data.index.scan import path_filter
from divcon.data.sources import folder
from divcon.data.sources.folder import walk
from divcon.data.sources.source import ByteRange, Entry


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that were given to a decoder."""
    found: list[bytes] = []
    check_files = scanning.check_files

    def counted(listed: Iterable[ByteRange], **how: int) -> Iterator[object]:
        byte_ranges = [*listed]
        found.extend(byte_range.file for byte_range in byte_ranges)
        yield from check_files(byte_ranges, **how)

    monkeypatch.setattr(scanning, "check_files", counted)
    return found


@pytest.fixture
def numbered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which all files have the same number."""
    entry = folder.file_entry

    def alike(name: bytes, file: "os.DirEntry[bytes]") -> Entry:
        return entry(name, file)._replace(inode=7, device=7)

    monkeypatch.setattr(folder, "file_entry", alike)


@pytest.mark.usefixtures("numbered_alike")
def test_two_files_with_one_number_are_two_pictures(tmp_path: Path) -> None:
    for i in range(5):
        noise(tmp_path / "pile" / f"{i}.png", i)
    found = open_images(tmp_path / "pile", cache=tmp_path / "cache")
    assert (found.index.used, found.index.duplicates) == (5, 0)
    assert open_images(tmp_path / "pile", cache=tmp_path / "cache").fingerprint == found.fingerprint


@pytest.mark.usefixtures("numbered_alike")
def test_a_picture_does_not_hide_behind_a_broken_file_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile/0.png").write_bytes(b"no picture")
    noise(tmp_path / "pile/1.png", 1)
    index = open_images(tmp_path / "pile", cache=tmp_path / "cache").index
    assert (index.used, index.rejected) == (1, 1)


def test_two_folders_with_one_number_are_both_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/x", "b/x", "b/c/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    stat = Path.stat

    def alike(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = list(stat(path, follow_symlinks=follow_symlinks))
        found[1], found[2] = 7, 7
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", alike)
    assert {entry.path for entry in walk(os.fsencode(tmp_path), path_filter((), ()))} == {b"a/x", b"b/x", b"b/c/x"}


def test_links_in_rings_end_and_each_real_folder_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/x").touch()
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/y").touch()
    for link, to in (("a/b/up", "root"), ("a/self", "root/a"), ("o1", "out"), ("o2", "out"), ("p", "out/deep")):
        (tmp_path / "root" / link).symlink_to(tmp_path / to)
    (tmp_path / "out/deep/back").symlink_to(tmp_path / "root")
    found = [entry.path for entry in walk(os.fsencode(tmp_path / "root"), path_filter((), ()))]
    assert sorted(found) == [b"a/b/x", b"o1/deep/y"]


def test_a_link_costs_no_reading_and_a_hard_link_what_a_copy_costs(tmp_path: Path, asked: list[bytes]) -> None:
    noise(tmp_path / "pile/0.png", 0)
    (tmp_path / "pile/1.png").symlink_to("0.png")
    (tmp_path / "pile/2.png").hardlink_to(tmp_path / "pile/0.png")
    index = open_images(tmp_path / "pile", cache=tmp_path / "cache").index
    assert (index.used, index.duplicates) == (1, 2)
    assert sorted(os.path.basename(file) for file in asked) == [b"0.png", b"2.png"]  # noqa: PTH119 - bytes
