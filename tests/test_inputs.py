"""The files of neglected folders, by their numbers in docs/promises.md: each is used, or rejected with a reason.

Every file is made here. They are scanned once, by a user who is not root.
"""

import contextlib
import csv
import errno
import io
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from formats_made import COLOR, PICTURES, tags
from numpy.typing import NDArray
from PIL import Image
from test_cli import told
from test_collection import aged, served
from test_decode import chunk, close, encoded, flipped, png, scene, stored
from test_hostile import by_anyone

from divcon.data import images
from divcon.data.decoding.decode import decode, decode_shrunk
from divcon.data.decoding.formats import HEIF
from divcon.data.images import Images, open_images
from divcon.data.index import validate, worker_pool
from divcon.data.index.index import Index
from divcon.data.index.scan import path_filter
from divcon.data.index.worker_pool import check_files
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.sources import retry
from divcon.data.sources.folder import Folder
from divcon.data.sources.source import ByteRange
from divcon.data.synthetic import make_collection
from divcon.errors import DataError
from divcon.files.text import printable

Pixels = NDArray[np.uint8]


class Row(NamedTuple):
    """A file and its expected result: used (as `picture`, with the warnings `notes`), or rejected for a reason."""

    number: int
    name: bytes
    data: bytes
    reason: str = ""
    picture: Pixels | None = None
    notes: str = ""

    @property
    def path(self) -> bytes:
        return b"%02d/%b" % (self.number, self.name)


def own(n: int) -> Pixels:
    """An image that differs from all others here."""
    return np.ascontiguousarray(np.roll(scene(), 7 * n % 90, axis=1))


def saved(kind: str, n: int, **options: Any) -> bytes:
    return encoded(kind, Image.fromarray(own(n)), **options)


def deep_tiff(n: int, strip: int = 60) -> bytes:
    """A TIFF of 16 bits a color, which Pillow can't write; its one strip has `rows` of its 60 rows."""
    wide = np.repeat(own(n).astype("<u2") * 257, 1)
    height, width = own(n).shape[:2]
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + 2 + 9 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6), (277, 3, 1, 3), (278, 3, 1, strip), (279, 4, 1, wide.nbytes * strip // height),
    ]  # fmt: skip
    directory = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16) + wide.tobytes()


def ring_tiff() -> bytes:
    """A TIFF whose directory says that the next directory is itself."""
    data = bytearray(saved("TIFF", 28))
    first = int.from_bytes(data[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[after : after + 4] = struct.pack("<I", first)
    return bytes(data)


def turned(n: int, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(
        "JPEG", Image.fromarray(stored(orientation)), quality=90 + orientation % 3, exif=exif, comment=b"%d" % n
    )


def moving(kind: str, frames: int) -> bytes:
    """Its first picture, then plain ones."""
    plain = [Image.new("RGB", (90, 60), (i % 256, i // 256, 0)) for i in range(1, frames)]
    how = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    first = Image.fromarray(own(26)).quantize(64) if kind == "GIF" else Image.fromarray(own(26))
    return encoded(kind, first, save_all=True, append_images=plain, **how)


def whole(n: int, kind: str = "PNG", **options: Any) -> bytes:
    return saved(kind, n, **options)


def on_white(clear: Pixels, alpha: int) -> Pixels:
    return np.round(clear * (alpha / 255) + 255 * (1 - alpha / 255)).astype(np.uint8)


def cut_out(picture: Pixels) -> bytes:
    """In a palette of which the color in the corner is transparent."""
    palette = Image.fromarray(picture).quantize(128)
    return encoded("PNG", palette, transparency=palette.getpixel((0, 0)))


def dng() -> bytes:
    """A TIFF whose first picture is a small preview, as a camera writes it."""
    preview = {256: [90], 257: [60], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [60], 50706: [1, 4]}
    return tags(preview, [own(39).tobytes()])


JPEG, SCANS, GRAY = saved("JPEG", 5), saved("JPEG", 5, progressive=True), own(20)[:, :, 0]
DEEP = np.broadcast_to(np.linspace(0, 65535, 90).round().astype(np.uint16), (60, 90)).copy()
CLEAR, WINDOW = own(21) // 2, own(21) // 2
CLEAR[:, :30], WINDOW[:, :30] = (255, 0, 255), 255
TEXTS = [chunk(b"tEXt", b"key%d\0" % i + b"x" * 90) for i in range(10_000)]
NAMES = {
    "emoji": "😀.png".encode(), "arabic": "صورة.png".encode(), "nfc": "\u00e9.png".encode(), "nfd": "e\u0301.png".encode(),
    "long": b"n" * 251 + b".png", "newline": b"two\nlines.png", "dash": b"-rf.png", "bytes": b"\xff\xfe.png",
    "escape": b"\x1b[31mred.png", "formula": b"=1+1.png", "rtl": "\u202egnp.exe.png".encode(),
}  # fmt: skip

ROWS = [
    Row(1, b"empty.jpg", b"", "empty_file"),
    Row(2, b"byte.jpg", b"x", "not_an_image"),
    Row(3, b"text.jpg", b"a text that somebody has named like a picture", "not_an_image"),
    Row(4, b"error.jpg", b"<!DOCTYPE html><html><body>404 <svg></svg></body></html>", "not_an_image", notes="html"),
    Row(5, b"half.jpg", JPEG[: len(JPEG) // 2], "truncated"),
    Row(5, b"half-ended.jpg", JPEG[: len(JPEG) // 2] + b"\xff\xd9", "truncated"),
    Row(5, b"half-scans.jpg", SCANS[: len(SCANS) // 2] + b"\xff\xd9", "truncated"),
    Row(5, b"taller.jpg", JPEG.replace(b"\x08\0\x3c\0\x5a", b"\x08\1\x3c\0\x5a"), "truncated"),
    Row(6, b"header.jpg", JPEG[:20], "not_an_image"),
    Row(7, b"no-end.jpg", JPEG[:-2], "truncated"),
    Row(8, b"more.jpg", saved("JPEG", 8) + bytes(1024), picture=own(8), notes="trailing_bytes"),
    Row(8, b"more.png", whole(9) + bytes(1024), picture=own(9), notes="trailing_bytes"),
    Row(9, b"flipped.jpg", flipped(saved("JPEG", 10, quality=95), -30), picture=own(10)),
    Row(10, b"half.png", whole(1)[: len(whole(1)) // 2], "truncated"),
    Row(10, b"rows.png", png(90, 60, 8, 2, b"".join(b"\0" + row.tobytes() for row in own(1)[:59])), "truncated"),
    Row(10, b"strips.tif", deep_tiff(1, strip=59), "truncated"),
    Row(11, b"checksum.png", flipped(whole(1), len(whole(1)) - 16), "corrupt"),
    Row(12, b"bomb.png", png(30_000, 30_000, 8, 2, b"0123456789"), "too_many_pixels"),
    Row(13, b"real.png", png(10_000, 10_000, 1, 0, bytes(1251 * 10_000)), "too_many_pixels"),
    Row(14, b"none.png", png(0, 0, 8, 2, b""), "not_an_image"),
    Row(15, b"dot.png", encoded("PNG", Image.new("RGB", (1, 1))), "too_small"),
    Row(16, b"strip.png", encoded("PNG", Image.new("RGB", (1, 20_000))), "extreme_aspect"),
    Row(17, b"png.jpg", whole(17), picture=own(17), notes="extension_mismatch"),
    Row(18, b"nothing", whole(18), picture=own(18)),
    Row(18, b"long.JPEG", saved("JPEG", 21), picture=own(21)),
    Row(18, b"upper.JPG", saved("JPEG", 22), picture=own(22)),
    Row(19, b"cmyk.jpg", encoded("JPEG", Image.fromarray(own(19)).convert("CMYK"), quality=95), picture=own(19)),
    Row(20, b"gray.jpg", encoded("JPEG", Image.fromarray(GRAY), quality=95), picture=np.dstack([GRAY] * 3)),
    Row(20, b"la.png", encoded("PNG", Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (90, 60), 128)])),
        picture=on_white(np.dstack([GRAY] * 3), 128)),
    Row(20, b"bit.png", encoded("PNG", Image.fromarray(own(23)).convert("1")),
        picture=np.asarray(Image.fromarray(own(23)).convert("1").convert("RGB"))),
    Row(21, b"palette.png", cut_out(CLEAR), picture=WINDOW),
    Row(21, b"clear.png", encoded("PNG", Image.new("RGBA", (90, 60), (1, 2, 3, 0))), "one_color"),
    Row(22, b"rgba.png", encoded("PNG", Image.fromarray(np.dstack([own(24), np.full((60, 90), 64, np.uint8)]))),
        picture=on_white(own(24), 64)),
    Row(23, b"deep.png", encoded("PNG", Image.fromarray(DEEP)), picture=np.dstack([(DEEP / 257).round().astype(np.uint8)] * 3)),
    Row(24, b"deep-color.png", png(90, 60, 16, 2, b"".join(b"\0" + row.tobytes() for row in own(25).astype(">u2") * 257)),
        picture=own(25)),
    Row(24, b"deep-color.tif", deep_tiff(27), picture=own(27)),
    Row(25, b"float.tif", encoded("TIFF", Image.fromarray(own(1)[:, :, 0]).convert("F")), "unsupported_mode"),
    Row(26, b"moving.gif", moving("GIF", 300), picture=np.asarray(Image.fromarray(own(26)).quantize(64).convert("RGB")),
        notes="frames=300"),
    Row(26, b"moving.webp", moving("WEBP", 300), picture=own(26), notes="frames=300"),
    Row(27, b"pages.tif", moving("TIFF", 3), picture=own(26), notes="frames=3"),
    Row(28, b"ring.tif", ring_tiff(), "corrupt"),
    *(Row(29, b"turned%d.jpg" % o, turned(o, o), picture=scene()) for o in range(2, 9)),
    Row(30, b"exif.jpg", saved("JPEG", 30, exif=b"Exif\0\0II*\0" + b"\xff" * 40), picture=own(30), notes="broken_exif"),
    Row(31, b"half.webp", saved("WEBP", 1)[: len(saved("WEBP", 1)) // 2], "corrupt"),
    Row(32, b"photo.heic", b"\0\0\0\x18ftypheic" + bytes(200), "corrupt" if HEIF else "needs_extra", notes="HEIC"),
    Row(32, b"IMG_1.HEIC", (PICTURES / "plain.heic").read_bytes(), *(("", COLOR) if HEIF else ("needs_extra",))),
    Row(32, b"IMG_2.avif", saved("AVIF", 32, quality=98, subsampling="4:4:4"), picture=own(32)),
    Row(32, b"IMG_3.JPG", saved("MPO", 33, quality=95, save_all=True, append_images=[Image.fromarray(own(34))]), picture=own(33),
        notes="frames=2"),
    Row(32, b"IMG_4.DNG", dng(), "format_not_allowed", notes="camera RAW"),
    Row(34, b"map.ppm", saved("PPM", 37), picture=own(37)),
    Row(34, b"map.pgm", b"P5 90 60 4095\n" + (own(38)[:, :, 0] * np.uint16(16)).astype(">u2").tobytes(), picture=np.dstack([own(38)[:, :, 0]] * 3)),
    Row(33, b"drawing.svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "vector_image"),
    Row(34, b"page.eps", encoded("EPS"), "format_not_allowed", notes="EPS"),
    Row(34, b"page.pdf", encoded("PDF"), "format_not_allowed", notes="PDF"),
    Row(34, b"layers.psd", b"8BPS\0\1" + bytes(200), "format_not_allowed", notes="PSD"),
    Row(34, b"sky.fits", b"SIMPLE  =                    T" + bytes(200), "format_not_allowed", notes="FITS"),
    Row(35, b"profile.jpg", saved("JPEG", 35, icc_profile=b"\0" * 5_000_000), picture=own(35)),
    Row(35, b"texts.png", png(90, 60, 8, 2, b"".join(b"\0" + row.tobytes() for row in own(36)), *TEXTS), picture=own(36)),
    *(Row(41, name, whole(40 + i), picture=own(40 + i)) for i, name in enumerate(NAMES.values())),
    Row(42, b"<img src=x onerror=alert(1)>.jpg", saved("JPEG", 60), picture=own(60)),
    Row(46, b"a.png", whole(61), picture=own(61)),
    Row(47, b"saved.png", encoded("PNG", Image.fromarray(own(62))), picture=own(62)),
    Row(51, b"shard.tar", b"000.jpg" + bytes(250) + b"ustar\00000" + JPEG + bytes(2048), "not_an_image"),
    Row(54, b"photos.zip", b"PK\3\4" + bytes(100), "not_an_image"),
    *(Row(55, name, b"\0\5\x16\7" + bytes(60), "not_candidate") for name in (b"Thumbs.db", b".DS_Store", b"._x.jpg")),
]  # fmt: skip
USED = [row for row in ROWS if not row.reason]
LINKS = {
    b"38/itself.png": "dangling_link", b"39/dangling.png": "dangling_link", b"40/pipe.png": "not_a_regular_file",
    b"40/socket.png": "not_a_regular_file", b"40/zero.jpg": "not_a_regular_file",
}  # fmt: skip
FORBIDDEN = {b"36/secret.png": "permission_denied", b"37/closed/": "permission_denied"}
COPIES = {b"46/b.png": b"46/a.png", b"46/hard.png": b"46/a.png", b"46/link.png": b"46/a.png"}


class Pile(NamedTuple):
    folder: Path
    account: dict[str, Any]
    out: Path
    index: Index
    ghostscript_ran: bool


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Pile]:
    """The folder with all files, and the index of its scan."""
    root = tmp_path_factory.mktemp("inputs")
    folder, out, tools = root / "pile", root / "index", root / "tools"
    with socket.socket(socket.AF_UNIX) as server:
        _lay_out(folder, server)
        (tools / "gs").parent.mkdir()
        (tools / "gs").write_text(f"#!/bin/sh\ntouch {root}/ghostscript\n")
        (tools / "gs").chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(tools), prepend=os.pathsep)
            done = by_anyone("look", str(folder), "--json")
            assert done.returncode == 0, done.stderr
            assert by_anyone("index", str(folder), f"out={out}").returncode == 0
    yield Pile(folder, json.loads(done.stdout), out, Index.load(out), (root / "ghostscript").exists())
    (folder / "37" / "closed").chmod(0o700)


def _lay_out(folder: Path, server: socket.socket) -> None:
    for row in ROWS:
        path = folder / os.fsdecode(row.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.data)
    for name in ("36", "37/closed", "38/below", "39", "40"):
        (folder / name).mkdir(parents=True)
    (folder / "36/secret.png").write_bytes(whole(70))
    (folder / "36/secret.png").chmod(0)
    (folder / "37/closed/inner.png").write_bytes(whole(71))
    for name, target in {"38/itself.png": "itself.png", "38/below/up": "..", "38/cross": "../46", "46/cross": "../38",
                         "39/dangling.png": "nowhere.png", "40/zero.jpg": "/dev/zero", "46/link.png": "a.png"}.items():  # fmt: skip
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "40/pipe.png")
    before = Path.cwd()
    os.chdir(folder / "40")  # the name of a socket has to be short
    server.bind("socket.png")
    os.chdir(before)
    (folder / "46/b.png").write_bytes(whole(61))
    (folder / "46/hard.png").hardlink_to(folder / "46/a.png")
    (folder / "47/resaved.jpg").write_bytes(saved("JPEG", 62, quality=95))
    aged(folder)
    (folder / "37/closed").chmod(0)


def row_of(index: Index, path: bytes) -> dict[str, Any]:
    at = index.table["path_bytes"].to_pylist().index(path)
    return {name: index.table[name][at].as_py() for name in index.table.column_names}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{printable(row.name)[:30]}")
def test_a_file_is_used_or_rejected_for_its_reason(pile: Pile, row: Row) -> None:
    found = row_of(pile.index, row.path)
    assert (found["status"], found["reason"]) == ("rejected" if row.reason else "used", row.reason)
    assert row.notes in found["detail"]


@pytest.mark.parametrize("row", USED, ids=lambda row: f"{row.number}-{printable(row.name)[:30]}")
def test_a_used_picture_is_whole_upright_and_neither_white_nor_black(pile: Pile, row: Row, cache: Path) -> None:
    """The image is read through the same folder, decoded and shrunk, as training does it."""
    assert row.picture is not None
    found, folder = row_of(pile.index, row.path), Images(Folder(pile.folder), pile.index)
    (at,) = np.flatnonzero((pile.index.hashes == np.frombuffer(found["hash"], np.uint8)).all(1))
    pictures, where = open_pixels(folder.subset(np.array([at])), 64, cache=cache, cache_gb=0, workers=1).read(
        np.arange(1)
    )
    seen = pictures[int(where[0])]
    assert close(seen, row.picture, 5) and close(decode(row.data).pixels, row.picture, 5)
    assert seen.std() == pytest.approx(row.picture.std(), abs=4)
    assert close(decode_shrunk(row.data, 64), seen, 0)


@pytest.mark.parametrize(("path", "reason"), [*LINKS.items(), *FORBIDDEN.items()])
def test_what_is_no_file_that_can_be_read_is_listed_and_never_opened(pile: Pile, path: bytes, reason: str) -> None:
    assert row_of(pile.index, path)["reason"] == reason


def test_found_is_used_and_duplicates_and_rejected(pile: Pile) -> None:
    account = pile.account
    assert account["found"] == account["used"] + account["duplicates"] + account["rejected"]
    assert account["found"] == len(ROWS) + len(LINKS) + len(FORBIDDEN) + len(COPIES) + 1  # one is saved again
    assert account["rejected"] == sum(bool(row.reason) for row in ROWS) + len(LINKS) + len(FORBIDDEN)
    assert account["duplicates"] == len(COPIES)
    assert sum(account["reasons"].values()) == account["rejected"]
    assert account["warnings"]["trailing_bytes"] == 2 and account["warnings"]["frames"] == 4


def test_every_reason_is_in_rejected_csv_and_every_twin_in_duplicates_csv(pile: Pile) -> None:
    with (pile.out / "rejected.csv").open(newline="", encoding="utf-8") as file:
        rejected = {line["path"]: line["reason"] for line in csv.DictReader(file)}
    reasons = {row.path: row.reason for row in ROWS if row.reason} | LINKS | FORBIDDEN
    assert rejected == {printable(path): reason for path, reason in reasons.items()}
    with (pile.out / "duplicates.csv").open(newline="", encoding="utf-8") as file:
        twins = {line["path"]: (line["same_as"], line["kind"]) for line in csv.DictReader(file)}
    assert {path: twins[printable(path)] for path in COPIES} == {
        path: (printable(a), "copy") for path, a in COPIES.items()
    }
    again = {"47/saved.png", "47/resaved.jpg"}
    assert {frozenset((path, twins[path][0])) for path in twins if path in again} == {frozenset(again)}


def test_no_name_reaches_a_table_raw_or_as_a_formula(pile: Pile) -> None:
    for name in ("rejected.csv", "duplicates.csv"):
        text = (pile.out / name).read_text()
        assert "\x1b" not in text and "\u202e" not in text
        assert not any(line.startswith(("=", "+", "-", "@")) for line in text.splitlines())


def test_names_of_any_bytes_are_found_again(pile: Pile) -> None:
    folder = Images(Folder(pile.folder), pile.index)
    names = folder.names(np.arange(len(folder)))
    for i, name in enumerate(NAMES.values()):
        assert folder.read(np.array([names.index(b"41/" + name)])) == [whole(40 + i)]


def test_ghostscript_is_never_started(pile: Pile) -> None:
    assert not pile.ghostscript_ran


def test_bombs_are_checked_in_64_mb(tmp_path: Path) -> None:
    """64 MB is the limit for a whole decoding process; a file that needs more would have the reason `memory`."""
    bombs = [row for row in ROWS if row.number in (12, 13, 14, 16, 26, 28, 34, 35, 51)]
    for i, row in enumerate(bombs):
        (tmp_path / str(i)).write_bytes(row.data)
    command = served("validate.MAX_MEMORY = 64 * 2**20\ncheck = validate.check_file")
    byte_ranges = [ByteRange(os.fsencode(tmp_path / str(i))) for i in range(len(bombs))]
    found = {
        byte_ranges.index(byte_range): verdict.reason
        for byte_range, verdict in check_files(byte_ranges, workers=1, command=command)
    }
    assert [found[i] for i in range(len(bombs))] == [row.reason for row in bombs]


def test_the_memory_limit_of_a_decoder_is_real(tmp_path: Path) -> None:
    """Nine tenths of the pixels that are allowed take 240 MB: with 64, the picture is rejected for that."""
    (tmp_path / "large").write_bytes(png(8_900, 8_900, 8, 2, bytes(8_900 * (3 * 8_900 + 1))))
    command = served("validate.MAX_MEMORY = 64 * 2**20\ncheck = validate.check_file")
    ((_, verdict),) = check_files([ByteRange(os.fsencode(tmp_path / "large"))], workers=1, command=command)
    assert verdict.reason == "memory"


@pytest.mark.parametrize(
    ("number", "files", "code", "said"),
    [
        (43, {}, 66, "no images found in"),
        (44, {"a.jpg": b"no", "b.jpg": b"", "c.jpg": b"nor this"}, 65, "not_an_image 2, empty_file 1"),
        (45, {"a.png": whole(1)}, 65, "1 image is too few to train on: at least 16 different ones are needed"),
        (48, {f"{i}.png": whole(1) for i in range(1000)}, 65, "1 image is too few to train on"),
    ],
)
def test_a_folder_without_enough_to_train_on_is_refused(
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    number: int,
    files: dict[str, bytes],
    code: int,
    said: str,
) -> None:
    (tmp_path / "pile").mkdir()
    for name, data in files.items():
        (tmp_path / "pile" / name).write_bytes(data)
    ended, line = told(["run", str(tmp_path / "pile"), f"out={tmp_path / 'run'}"], capsys)
    assert (ended, said in line) == (code, True), (ended, line)
    assert not (tmp_path / "run").exists()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.jpg", bytes(10_000_000))
    return file.getvalue()


def test_an_archive_is_refused_and_never_unpacked(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos.zip").write_bytes(zipped())
    before = sorted(tmp_path.parent.rglob("*"))
    ended, line = told(["look", str(tmp_path / "photos.zip")], capsys)
    assert ended == 64 and "is an archive, and archives are never unpacked here: unpack it, and name the folder" in line
    assert sorted(tmp_path.parent.rglob("*")) == before


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    """Flip one bit and restore the times, so that only the content differs."""
    times = path.stat()
    path.write_bytes(flipped(path.read_bytes(), -12))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [grown, cut, flip, as_fifo, Path.unlink]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_that_changed_after_the_scan_is_named_at_its_use(
    tmp_path: Path, cache: Path, change: Callable[[Path], None], cached: bool
) -> None:
    folder = open_images(make_collection(tmp_path / "photos", 20, size=16), cache=cache)
    change(tmp_path / "photos/disc/00001.jpg")
    with pytest.raises(DataError, match=r"disc/00001\.jpg in .* has changed since the folder was scanned") as error:
        open_pixels(folder, 8, cache=cache, cache_gb=float(cached), workers=2).read(np.arange(20))
    assert error.value.code == 65 and "Put it back and type the same command again" in str(error.value)


def test_a_file_that_was_found_changed_is_looked_at_again(tmp_path: Path, cache: Path) -> None:
    """Size and times are unchanged: without `forget` the next scan would not read the file."""
    aged(make_collection(tmp_path / "photos", 20, size=16))
    before = open_images(tmp_path / "photos", cache=cache)
    flip(tmp_path / "photos/disc/00001.jpg")
    assert open_images(tmp_path / "photos", cache=cache).fingerprint == before.fingerprint
    with pytest.raises(DataError):
        before.read(np.arange(20))
    assert open_images(tmp_path / "photos", cache=cache).fingerprint != before.fingerprint


def failing(times: int, then: Callable[[], bytes]) -> Callable[..., bytes]:
    left = [times]

    def read(*_: object) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "Input/output error")
        return then()

    return read


def test_a_disk_that_fails_for_a_moment_is_asked_three_times(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "WAITS", (0, 0))
    folder = open_images(make_collection(tmp_path / "photos", 20, size=16), cache=cache)
    (content,) = folder.read(np.array([3]))
    monkeypatch.setattr(images, "read_bytes", failing(2, lambda: content))
    assert folder.read(np.array([3])) == [content]
    monkeypatch.setattr(images, "read_bytes", failing(3, lambda: content))
    with pytest.raises(DataError, match="Input/output error"):
        folder.read(np.array([3]))


def test_a_file_that_can_not_be_read_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAITS", (0, 0))
    monkeypatch.setattr(validate, "_check_path", failing(3, bytes))
    assert validate.check_file(ByteRange(b"anything")).reason == "io_error"


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def harm(seed: int, times: int, done: threading.Event) -> None:
    """Kill or stop a random child process, several times."""
    rng = np.random.default_rng(seed)
    while times and not done.wait(0.3):
        if pids := children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(rng.choice(pids)), int(rng.choice([signal.SIGKILL, signal.SIGSTOP])))
                times -= 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_decoders_killed_and_stopped_at_random_cost_what_they_were_at(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    byte_ranges, done = [ByteRange(b"%d" % i) for i in range(150)], threading.Event()
    slowly = served("def check(byte_range):\n time.sleep(0.02)\n return Verdict(size=int(byte_range.file))")
    thread = threading.Thread(target=harm, args=(seed, 5, done))
    monkeypatch.setattr(worker_pool, "START_SECONDS", 5.0)
    monkeypatch.setattr(worker_pool, "MAX_STARTS", 10)  # chance may hit one several times as it starts
    thread.start()
    try:
        verdicts = dict(check_files(byte_ranges, workers=2, command=slowly, seconds=1.0))
    finally:
        done.set()
        thread.join()
    lost = {byte_range for byte_range in byte_ranges if verdicts[byte_range].reason}
    assert {verdicts[byte_range].reason for byte_range in lost} <= {"decoder_crashed", "timeout"} and len(lost) <= 5
    assert all(
        verdicts[byte_range].size == int(byte_range.file) for byte_range in byte_ranges if byte_range not in lost
    )


def many(folder: Path, n: int) -> Path:
    """Make a folder with n names of one file."""
    folder.mkdir()
    (folder / "0.png").write_bytes(whole(1))
    for i in range(1, n):
        os.link(folder / "0.png", folder / f"{i}.png")
    return folder


def test_a_listed_file_takes_less_than_a_kilobyte(tmp_path: Path) -> None:
    folder = many(tmp_path / "many", 5_000)
    tracemalloc.start()
    entries = list(Folder(folder).entries(path_filter((), ())))
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(entries) == 5_000 and memory < 1_000 * 5_000


MILLION = """
import resource, sys
from pathlib import Path
from divcon.data.index.scan import scan
from divcon.data.sources.folder import Folder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index = scan(Folder(Path(sys.argv[1])), cache=Path(sys.argv[2]))
print(index.found, index.duplicates, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_many_files_in_one_folder_take_two_kilobytes_each(tmp_path: Path) -> None:
    n = 200_000
    # A hard link is refused past 65,000 names on some file systems.
    for part in range(4):
        many(tmp_path / f"many{part}", n // 4).rename(tmp_path / f"part{part}")
    (tmp_path / "all").mkdir()
    for part in range(4):
        (tmp_path / f"part{part}").rename(tmp_path / "all" / str(part))
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(tmp_path / "all"), str(tmp_path / "cache")], capture_output=True, text=True
    )
    found, duplicates, kilobytes = (int(word) for word in done.stdout.split())
    assert (found, duplicates) == (n, n - 1) and kilobytes < 2 * n


def test_no_limit_of_this_process_is_left_lowered() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
