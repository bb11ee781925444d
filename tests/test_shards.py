"""Tar shards, read in place: intact, damaged and malicious ones."""

import io
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import told
from test_collection import aged
from test_decode import close
from test_inputs import ROWS, Row, row_of, whole
from test_pipeline import stable

import divcon
from divcon.api.index import index
from divcon.api.look import look
from divcon.data.images import Images, open_images
from divcon.data.index import scan
from divcon.data.index.validate import Verdict
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.sources import retry, tar
from divcon.data.sources.folder import Folder
from divcon.data.sources.path_patterns import expand_braces
from divcon.data.sources.source import ByteRange, Entry
from divcon.data.sources.tar import BLOCK, BrokenTarError, Member, members
from divcon.data.sources.tar_shards import TarShards
from divcon.data.synthetic import make_collection
from divcon.errors import DataError, UsageError

GIB = 2**30
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def packed(files: Sequence[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar of these files, written by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, errors="surrogateescape") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def header(
    name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, realsize: int | None = None, link: str = "",
    holes: bool = False,
) -> bytes:  # fmt: skip
    """Return a header with the given fields and the right checksum."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    block[124:136] = number(size)
    if realsize is not None:
        block[483:495] = number(realsize)
    block[482] = holes
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def number(value: int) -> bytes:
    """Return the number in twelve bytes: octal, or base 256 where it is too large."""
    return (
        b"%011o\0" % value
        if 0 <= value < 8**11
        else bytes([0x80 if value >= 0 else 0xFF]) + (value % 256**11).to_bytes(11)
    )


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def pax(**records: str) -> bytes:
    """Return an extended header for the member behind it."""
    lines = b""
    for key, value in records.items():
        rest = f" {key.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
        lines += str(length).encode() + rest
    return header("pax", size=len(lines), kind=tarfile.XHDTYPE) + padded(lines)


def member(name: str, data: bytes) -> bytes:
    return header(name, size=len(data)) + padded(data)


END = bytes(2 * BLOCK)
PICTURES = [(f"{i:03}.png", whole(i)) for i in range(20)]


class Counted(io.BytesIO):
    """A file that fails when it is read more often than a list of few members needs."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        assert self.reads < 100_000, "it is read over and over"
        return super().read(size)


def read(data: bytes) -> tuple[list[Member], str]:
    """Return the members of a tar, and the reason why it can't be read to its end."""
    found = list[Member]()
    try:
        for one in members(Counted(data), len(data)):
            found.append(one)
    except BrokenTarError as broken:
        return found, broken.reason
    return found, ""


def shard(folder: Path, data: bytes, name: str = "000.tar") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return aged(folder) / name


def opened(data: Path, cache: Path) -> Images:
    images = open_images(data, cache=cache)
    counts = images.index
    assert counts.found == counts.used + counts.duplicates + counts.rejected
    return images


# What lies in folders, in a tar


@pytest.fixture(scope="module")
def tarred(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A tar with every file of test_inputs.py in it."""
    rows = [(os.fsdecode(row.path), row.data) for row in ROWS]
    return shard(tmp_path_factory.mktemp("tarred") / "shards", packed(rows))


@pytest.fixture(scope="module")
def found(tarred: Path, cache: Path) -> Images:
    return opened(tarred, cache)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.name!r:.30}")
def test_a_file_in_a_tar_is_used_or_rejected_for_the_reason_it_has_in_a_folder(found: Images, row: Row) -> None:
    line = row_of(found.index, b"000.tar/" + row.path)
    assert (line["status"], line["reason"]) == ("rejected" if row.reason else "used", row.reason)
    assert row.notes in line["detail"]


def test_a_used_picture_of_a_tar_is_the_one_that_was_put_in(found: Images, cache: Path) -> None:
    names = found.names(np.arange(len(found)))
    rows = {b"000.tar/" + row.path: row for row in ROWS}
    pictures, where = open_pixels(found, 64, cache=cache, cache_gb=0, workers=1).read(np.arange(len(found)))
    for position, (name, data) in enumerate(zip(names, found.read(np.arange(len(found))))):
        expected = rows[name].picture
        assert data == rows[name].data and expected is not None
        assert close(pictures[int(where[position])], expected, 5)


def test_bombs_in_a_tar_are_checked_within_a_gigabyte(tarred: Path, tmp_path: Path) -> None:
    """The limit is on the address space of the process that reads the headers; its decoders have their own."""
    command = [sys.executable, "-m", "divcon", "look", str(tarred), "--json", f"cache={tmp_path}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found"] == len(ROWS)


def test_a_folder_and_its_tars_are_the_same_images(tmp_path: Path, cache: Path) -> None:
    folder = make_collection(tmp_path / "photos", 40, size=16)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tars = tmp_path / "shards"
    tars.mkdir()
    for i, name in enumerate(FORMATS):
        some = [(str(path.relative_to(folder)), path.read_bytes()) for path in files[i::3]]
        (tars / f"{name}.tar").write_bytes(packed(some, FORMATS[name]))
    (other,) = {opened(tars / name, cache).fingerprint for name in ("*.tar", "{pax,gnu,ustar}.tar")}
    assert other == open_images(folder, cache=cache).fingerprint


def test_a_run_on_tars_gives_the_bytes_of_one_on_the_folder(tmp_path: Path, cache: Path) -> None:
    folder = make_collection(tmp_path / "photos", 64, size=16)
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.*"))]
    (tmp_path / "000.tar").write_bytes(packed(files[:30]))
    (tmp_path / "001.tar").write_bytes(packed(files[30:]))
    runs = [divcon.run(data, out=tmp_path / f"run{i}", epochs=2, **TINY)
            for i, data in enumerate((folder, tmp_path / "{000..001}.tar"))]  # fmt: skip
    first, second = (stable(run.folder) for run in runs)
    named = {"images/index.arrow", "clusters/clusters.parquet"}  # what holds names
    assert {name: first[name] for name in first.keys() - named} == {
        name: second[name] for name in second.keys() - named
    }
    assert divcon.run(tmp_path / "{000..001}.tar", out=tmp_path / "run1", epochs=2, **TINY).did == []


# 51: torn


def test_of_a_tar_that_is_cut_anywhere_what_comes_before_is_used_and_the_shard_is_listed(
    tmp_path: Path, cache: Path
) -> None:
    data = b"".join(member(*file) for file in PICTURES) + END
    ends = [one.offset + one.size for one in read(data)[0]]
    for cut in np.linspace(1, len(data) - 1025, 20).astype(int):
        index = scan.scan(TarShards([shard(tmp_path / f"{cut}", data[:cut])]), cache=cache)
        assert index.used == sum(end <= cut for end in ends)
        assert (index.found, index.reasons) == (index.used + 1, {"truncated_shard": 1})


def test_a_tar_without_an_end_is_listed_and_all_in_it_used(tmp_path: Path, cache: Path) -> None:
    data = b"".join(member(name, content) for name, content in PICTURES)
    images = opened(shard(tmp_path / "shards", data), cache)
    assert (len(images), images.index.reasons) == (len(PICTURES), {"truncated_shard": 1})


def test_a_shard_that_is_no_tar_costs_itself_alone(tmp_path: Path, cache: Path) -> None:
    shard(tmp_path / "shards", packed(PICTURES))
    shard(tmp_path / "shards", b"no tar " * 1000, "001.tar")
    shard(tmp_path / "shards", b"", "002.tar")
    os.mkfifo(tmp_path / "shards/003.tar")
    images = opened(tmp_path / "shards/*.tar", cache)
    assert (len(images), images.index.rejected) == (20, 3)
    assert images.index.reasons == {"not_a_regular_file": 1, "not_a_tar": 1, "truncated_shard": 1}


# 52: names that are paths


def test_what_is_no_file_is_skipped_and_a_name_is_never_a_path(tmp_path: Path, cache: Path) -> None:
    links = {"link.png": (tarfile.SYMTYPE, "/etc/passwd"), "hard.png": (tarfile.LNKTYPE, "000.png"), "dev": (tarfile.CHRTYPE, ""),
             "fifo": (tarfile.FIFOTYPE, "")}  # fmt: skip
    names = ["../../up.png", "/absolute.png", "a/../b.png", "", "C:\\x.png", "trailing/./x.png"]
    data = b"".join(header(name, kind=kind, link=to) for name, (kind, to) in links.items())
    data += header("folder/", kind=tarfile.DIRTYPE)
    data += b"".join(member(name, whole(50 + i)) for i, name in enumerate(names)) + END
    shard_path = shard(tmp_path / "shards", data)
    before = sorted(tmp_path.rglob("*"))
    images = opened(shard_path, cache)
    assert sorted(images.names(np.arange(6))) == sorted(b"000.tar/" + name.encode() for name in names)
    assert sorted(images.read(np.arange(6))) == sorted(whole(50 + i) for i in range(6))
    assert images.index.reasons == {"not_a_regular_file": 4}
    look(shard_path, cache=cache, sheet=tmp_path / "shards" / "sheet.png")
    (tmp_path / "shards" / "sheet.png").unlink()
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(path.exists() for path in (tmp_path.parent / "up.png", tmp_path / "up.png", Path("/absolute.png")))


def test_names_of_any_bytes_are_escaped_in_every_list(tmp_path: Path, cache: Path) -> None:
    names = ["\x1b[31mred", "two\nlines", "\udcff\udcfe", "\u202egnp", "<img src=x>", "=1+1"]
    shard_path = shard(tmp_path / "shards", packed([(name, b"no image") for name in names] + PICTURES))
    index(shard_path, out=tmp_path / "index", cache=cache)
    text = (tmp_path / "index/rejected.csv").read_text()
    assert len(text.splitlines()) == 1 + len(names)
    assert all(line.isprintable() for line in text.splitlines())


# 53: sizes that are not there


HUGE = {
    "pax 1.0": pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__realsize=str(2**40), GNU__sparse__name="s.png")
    + member("GNUSparseFile.0/s.png", b"1\n0\n512\n" + bytes(512)),
    "pax 0.1": pax(GNU__sparse__size=str(2**40), GNU__sparse__map="0,512") + member("s.png", bytes(512)),
    "old": header("s.png", size=512, kind=tarfile.GNUTYPE_SPARSE, realsize=2**40) + bytes(512),
}  # fmt: skip


@pytest.mark.parametrize("sparse", HUGE.values(), ids=HUGE)
def test_a_sparse_member_that_says_it_has_a_terabyte_is_skipped_and_the_others_are_used(
    tmp_path: Path, cache: Path, sparse: bytes
) -> None:
    shard_path = shard(tmp_path / "shards", member("a.png", whole(1)) + sparse + member("b.png", whole(2)) + END)
    images = opened(shard_path, cache)
    assert (len(images), images.index.reasons) == (2, {"member_too_large": 1})
    (line,) = images.index.table.to_pylist()[2:]
    assert line["path_bytes"] == b"000.tar/s.png" and "1,099,511,627,776 bytes" in line["detail"]


@pytest.mark.parametrize("size", [2**40, 2**60, 8**11 - 1])
@pytest.mark.parametrize("said", ["header", "pax"])
def test_a_member_that_is_said_to_have_more_than_there_is_ends_the_shard(said: str, size: int) -> None:
    large = header("b.png", size=size) if said == "header" else pax(size=str(size)) + header("b.png")
    found, why = read(member("a.png", whole(1)) + large + member("c.png", whole(2)) + END)
    assert [(one.name, one.reason) for one in found] == [(b"a.png", ""), (b"b.png", "member_too_large")]
    assert why == "truncated_shard"


CIRCLES = {
    "back": header("b.png", size=-2 * BLOCK),
    "far back": header("b.png", size=-(2**70)),
    "no record": header("pax", size=BLOCK, kind=tarfile.XHDTYPE) + padded(b"0 path=x\n"),
    "record without end": header("pax", size=BLOCK, kind=tarfile.XHDTYPE) + padded(b"999999 path=x\n"),
    "digits": header("pax", size=2**20, kind=tarfile.XHDTYPE) + b"1" * 2**20,
    "long name": header("long", size=2**21, kind=tarfile.GNUTYPE_LONGNAME) + bytes(2**21),
    "name of a terabyte": header("long", size=2**40, kind=tarfile.GNUTYPE_LONGNAME),
    "checksum": b"x" + header("b.png")[1:],
}


@pytest.mark.parametrize("circle", CIRCLES.values(), ids=CIRCLES)
def test_headers_that_lead_nowhere_end_the_shard_at_once(circle: bytes) -> None:
    found, why = read(member("a.png", whole(1)) + circle + member("c.png", whole(2)) + END)
    assert [one.name for one in found] == [b"a.png"] and why == "corrupt_shard"


def test_many_records_and_a_long_list_of_holes_are_read_in_few_pieces() -> None:
    records = b"5 a=\n" * 200_000
    said = header("pax", size=len(records), kind=tarfile.XHDTYPE) + padded(records)
    found, why = read(said + member("a.png", b"x") + END)
    assert ([one.name for one in found], why) == ([b"a.png"], "")
    assert read(header("s", kind=tarfile.GNUTYPE_SPARSE, holes=True) + b"\1" * 2**24) == ([], "truncated_shard")


def test_a_name_that_is_too_long_is_skipped() -> None:
    found, why = read(packed([("x" * 5000, whole(1)), ("b.png", whole(2))]))
    assert [one.reason for one in found] == ["name_too_long", ""] and why == ""
    assert len(found[0].name) == tar.MAX_NAME


# As others read them


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=130).map(
    lambda name: f"d/{name}.png"
)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6, unique_by=lambda file: file[0])


@settings(deadline=None)
@given(FILES, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_members_are_where_the_standard_library_finds_them(files: list[tuple[str, bytes]], format: int) -> None:
    data = packed(files, format)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        theirs = [(info.name.encode("utf-8", "surrogateescape"), info.offset_data, info.size) for info in tar]
    assert ([one[:3] for one in read(data)[0]], read(data)[1]) == (theirs, "")


def test_what_the_system_s_tar_writes_is_read(tmp_path: Path, cache: Path) -> None:
    folder = make_collection(tmp_path / "photos", 20, size=16)
    (folder / ("n" * 120 + ".png")).write_bytes(whole(3))
    for form in ("gnu", "pax", "oldgnu"):
        subprocess.run(["tar", f"--format={form}", "-cf", tmp_path / f"{form}.tar", "-C", folder, "."], check=True)
        assert opened(tmp_path / f"{form}.tar", cache).fingerprint == open_images(folder, cache=cache).fingerprint


def test_two_members_of_one_name_are_two_images(tmp_path: Path, cache: Path) -> None:
    shard_path = shard(tmp_path / "shards", packed([("a.png", whole(1)), ("a.png", whole(2))]))
    images = opened(shard_path, cache)
    names = images.names(np.arange(2))
    assert len(set(names)) == 2 and all(name.startswith(b"000.tar/a.png") for name in names)
    assert sorted(images.read(np.arange(2))) == sorted([whole(1), whole(2)])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_bytes_lead_the_reader_astray(data: st.DataObject) -> None:
    """Every member lies in the file, behind the previous member, or is rejected."""
    good = bytearray(
        packed(PICTURES[:3]) if data.draw(st.booleans()) else b"".join(HUGE.values()) + packed(PICTURES[:2])
    )
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    after = 0
    for one in read(bytes(good))[0]:
        assert one.offset > after and (one.reason or one.offset + one.size <= len(good))
        after = one.offset


# After the scan


def test_nothing_of_a_shard_that_was_seen_is_looked_at_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard_path = shard(tmp_path / "shards", packed(PICTURES))
    first = opened(shard_path, cache).index.table
    asked, check_files = list[ByteRange](), scan.check_files

    def noted(ranges: Iterable[ByteRange], *, workers: int) -> Iterator[tuple[ByteRange, Verdict]]:
        listed = [*ranges]
        asked.extend(listed)
        return check_files(listed, workers=workers)

    monkeypatch.setattr(scan, "check_files", noted)
    assert opened(shard_path, cache).index.table.equals(first) and asked == []
    shard(shard_path.parent, packed(PICTURES[:3]), "001.tar")
    assert len(opened(shard_path.with_name("*.tar"), cache)) == 20 and len(asked) == 3


def grown(path: Path) -> None:
    path.write_bytes(b"\0" * BLOCK + path.read_bytes())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4 * BLOCK])


def swapped(path: Path) -> None:
    path.write_bytes(packed(list(reversed(PICTURES))))


def flip(path: Path) -> None:
    """Flip one bit of the last image and restore the times, so that only the content differs."""
    times, data = path.stat(), bytearray(path.read_bytes())
    last = read(bytes(data))[0][-1]
    data[last.offset + last.size // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [grown, cut, swapped, flip, Path.unlink], ids=lambda change: change.__name__)
def test_a_shard_that_changed_after_the_scan_is_named_at_its_use(tmp_path: Path, cache: Path, change: Any) -> None:
    shard_path = shard(tmp_path / "shards", b"".join(member(*file) for file in PICTURES))
    images = opened(shard_path, cache)
    change(shard_path)
    with pytest.raises(DataError, match=r"000\.tar/0.*png in .* has changed since the folder was scanned"):
        images.read(np.arange(len(images)))


# What may be typed


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{000..002}.tar", ["000.tar", "001.tar", "002.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{a,b}/{1,2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("{7..7}{,x}", ["7", "7x"]),
        ("no}{braces", ["no}{braces"]),
    ],
)
def test_braces_count_and_list_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assert list(expand_braces(pattern)) == names
    shell = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    assert shell.stdout.split("\n")[:-1] == names


def test_a_pattern_that_fits_nothing_or_too_much_is_refused(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard_path = shard(tmp_path / "shards", packed(PICTURES))
    (tmp_path / "shards/001.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    for typed, code, words in (
        (shard_path.with_name("{000..003}.tar"), 66, "there is no .*001.tar .3 of 4 shards are missing"),
        (shard_path.with_name("x*.tar"), 66, "there is no .*x.*tar"),
        (shard_path.with_name("{0..9999999}.tar"), 64, "1,000,000 of them at most"),
        (shard_path.with_name("{3..1}.tar"), 64, "from the smaller to the larger"),
        (shard_path.with_name("{0..9999}{0..9999}{0..9999}.tar"), 64, "1,000,000,000,000 shards; 1,000,000 at most"),
        (shard_path.with_name("001.tar.gz"), 64, "is an archive, and archives are never unpacked here"),
        (shard_path.with_name("*.tar.gz"), 64, "is an archive, and archives are never unpacked here"),
    ):
        ended, line = told(["look", str(typed)], capsys)
        assert ended == code, line
        assert re.search(words, line), line


def test_tars_in_a_folder_are_named_and_not_looked_into(tmp_path: Path, cache: Path) -> None:
    shard_path = shard(tmp_path / "shards", packed(PICTURES))
    with pytest.raises(DataError, match=rf"to use the images in 1 tar shard, name it: '{shard_path.parent}/\*\.tar'"):
        open_images(shard_path.parent, cache=cache)


def test_labels_are_not_read_from_tars(tmp_path: Path, cache: Path) -> None:
    from divcon.data.labeled.labeled import open_labeled

    shard_path = shard(tmp_path / "shards", packed(PICTURES))
    with pytest.raises(UsageError, match="labeled folder"):
        open_labeled(shard_path, cache=cache)


def test_a_folder_that_is_called_like_a_pattern_is_that_folder(tmp_path: Path, cache: Path) -> None:
    folder = make_collection(tmp_path / "a[1]{b,c}.tar", 10, size=16)
    assert len(open_images(folder, cache=cache)) == 10


def test_what_is_learned_of_shards_is_kept_for_their_folder(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        shard(tmp_path / "shards", packed(PICTURES), name)
    both, one = TarShards(sorted((tmp_path / "shards").iterdir())), TarShards([tmp_path / "shards/a.tar"])
    assert both.key == one.key != Folder(tmp_path / "shards").key and both.root == one.root == tmp_path / "shards"
    assert [type(entry) for entry in one.entries(scan.path_filter((), ()))] == [Entry] * 20


# What a second stranger tried


@pytest.mark.parametrize("between", [b"", bytes(BLOCK), bytes(20 * BLOCK)], ids=len)
def test_tars_behind_one_another_and_behind_lost_blocks_are_read_to_the_end(between: bytes) -> None:
    data = packed(PICTURES[:5]) + between + packed(PICTURES[5:])
    assert [one.name.decode() for one in read(data)[0]] == [name for name, _ in PICTURES] and read(data)[1] == ""
    lone = member("a.png", whole(1)) + bytes(BLOCK) + member("b.png", whole(2)) + END
    assert [one.name for one in read(lone)[0]] == [b"a.png", b"b.png"]


def test_what_lies_behind_an_end_and_is_no_tar_is_nobodys_business() -> None:
    assert (
        read(packed(PICTURES) + b"garbage" * 1000)[1] == "" and len(read(packed(PICTURES) + b"garbage" * 1000)[0]) == 20
    )


def test_no_choice_of_names_makes_two_members_one(tmp_path: Path, cache: Path) -> None:
    first = member("x.png", whole(1))
    name = f"x.png@{2 * len(first) + 3 * BLOCK + len(padded(whole(3))) - len(padded(whole(3))) - BLOCK}"
    for taken in (name, f"x.png@{BLOCK}", *(f"x.png@{n}" for n in range(0, 40 * BLOCK, BLOCK))):
        data = member(taken, whole(3)) + first + member("x.png", whole(2)) + member(taken, whole(4)) + END
        shards = TarShards([shard(tmp_path / "shards", data)])
        assert len({entry.path for entry in shards.entries(scan.path_filter((), ()))}) == 4, taken
    images = scan.scan(shards, cache=tmp_path / "cache")
    assert (images.used, images.found) == (4, 4)


def test_a_pattern_hides_no_shard_that_can_not_be_read_and_fits_a_name_that_is_there_twice(
    tmp_path: Path, cache: Path
) -> None:
    data = b"".join(member(*file) for file in (*PICTURES, *PICTURES[:2])) + END
    shard(tmp_path / "shards", data)
    shard(tmp_path / "shards", data[: len(data) // 2], "001.tar")
    index = scan.scan(TarShards(sorted((tmp_path / "shards").iterdir())), include=["*.png"], cache=cache)
    assert index.reasons == {"truncated_shard": 1} and index.used == 20 and index.duplicates > 2
    index = scan.scan(
        TarShards(sorted((tmp_path / "shards").iterdir())), include=["*.png"], exclude=["001.tar/*"], cache=cache
    )
    assert (index.found, index.used, index.duplicates) == (22, 20, 2)


def failing(times: int) -> Any:
    left, real = [times], tar._read_available

    def some(file: Any, at: int, length: int) -> bytes:
        def read() -> bytes:
            left[0] -= at > 0
            if at > 0 and left[0] >= 0:
                raise OSError(5, "Input/output error")
            return real(file, at, length)

        return retry.retry(read)

    return some


@pytest.mark.parametrize(("times", "lost"), [(2, False), (1000, True)])
def test_a_disk_that_fails_for_a_moment_loses_no_shard_and_one_that_stays_so_ends_the_run(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    times: int,
    lost: bool,
) -> None:
    monkeypatch.setattr(retry, "WAITS", (0, 0))
    monkeypatch.setattr(tar, "_read_available", failing(times))
    shard_path = shard(tmp_path / "shards", packed(PICTURES))
    if not lost:
        assert len(opened(shard_path, cache)) == 20
        return
    shard(tmp_path / "shards", packed(PICTURES), "001.tar")
    monkeypatch.setattr(tar, "_read_available", tar._read_available)
    code, line = told(["run", str(shard_path.with_name("*.tar")), f"out={tmp_path / 'run'}", "include=*.png"], capsys)
    assert code == 65 and "io_error" in line, line


def test_a_folder_whose_name_has_braces_or_brackets_is_found(tmp_path: Path, cache: Path) -> None:
    for name in ("a [b] c", "{odd}"):
        shard(tmp_path / name, packed(PICTURES[:10]))
        shard(tmp_path / name, packed(PICTURES[10:]), "001.tar")
        assert len(opened(tmp_path / name / "{000..001}.tar", cache)) == 20


def test_a_shard_that_is_a_link_keeps_its_name(tmp_path: Path, cache: Path) -> None:
    shard_path = shard(tmp_path / "blobs", packed(PICTURES), "3f2a")
    (tmp_path / "named.tar").symlink_to(shard_path)
    assert opened(tmp_path / "named.tar", cache).names(np.arange(1))[0].startswith(b"named.tar/")
