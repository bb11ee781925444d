"""A run's folder on a mounted bucket is refused, by the table of mounts; any other file system is not."""

from pathlib import Path

import pytest
from conftest import TINY

import divcon
from divcon.errors import DiskError
from divcon.files import mounts
from divcon.files.mounts import mount_of

ROOT = "27 0 254:0 / / rw,relatime - ext4 /dev/vda rw"


def line(folder: Path, kind: str, source: str) -> str:
    """A line as the kernel writes it, with optional fields."""
    escaped = str(folder).replace("\\", "\\134").replace(" ", "\\040").replace("\n", "\\012")
    return f"99 27 0:55 / {escaped} rw,nosuid,nodev shared:7 master:2 - {kind} {source} rw,user_id=0"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "a b\n\\c" / "mount"
    place.mkdir(parents=True)
    return place


def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("\n".join([ROOT, *lines]) + "\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", table)


BUCKETS = {
    "s3fs": ("fuse.s3fs", "s3fs"), "gcsfuse": ("fuse.gcsfuse", "photos"), "goofys": ("fuse.goofys", "photos"),
    "rclone": ("fuse.rclone", "remote:photos"), "mountpoint-s3": ("fuse", "mountpoint-s3"), "blobfuse2": ("fuse", "blobfuse2"),
    "s3fs of an old version": ("fuse", "s3fs#photos"), "goofys of an old version": ("fuse", "goofys#photos"),
}  # fmt: skip
OTHERS = [
    ("nfs4", "host:/export"), ("fuse.sshfs", "me@host:/"), ("fuse.juicefs", "JuiceFS:photos"), ("lustre", "10.0.0.1@tcp:/fs"),
    ("ext4", "/dev/s3fs"), ("tmpfs", "s3fs"), ("fuse", "somebody"), ("fuseblk", "s3fs"), ("cifs", "//host/rclone"),
]  # fmt: skip


@pytest.mark.parametrize("name", BUCKETS)
def test_a_run_on_a_mounted_bucket_is_refused_before_any_work(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(tmp_path, monkeypatch, line(place, *BUCKETS[name]))
    with pytest.raises(DiskError, match=rf"mounted bucket \({name.split()[0]} at .*rename is not atomic.*cp -r run "):
        divcon.run(tmp_path / "nowhere", out=place / "deep" / "run", **TINY)
    with pytest.raises(DiskError, match="mounted bucket"):
        divcon.embed("random:slim10_w8", tmp_path / "nowhere", out=place / "e.parquet", shard="1/2")
    with pytest.raises(DiskError, match=r"cache=.* lies on a mounted bucket"):
        divcon.index(tmp_path, cache=place / "cache", shard="1/2")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("kind", "source"), OTHERS)
def test_other_file_systems_are_no_buckets(
    kind: str, source: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(tmp_path, monkeypatch, line(place, kind, source))
    mount = mount_of(place / "run")
    assert mount is not None and (mount.folder, mount.bucket_program) == (place, "")


def test_the_innermost_and_last_mount_counts(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, disk = line(place, *BUCKETS["s3fs"]), line(place, "ext4", "/dev/vdb")
    (place / "inner").mkdir()
    inner = line(place / "inner", "ext4", "/dev/vdc")
    programs = []
    for lines in ([bucket, inner], [bucket, disk], [disk, bucket], [line(place.parent, *BUCKETS["rclone"]), disk]):
        mounted(tmp_path, monkeypatch, *lines)
        found = [mount_of(path / "run") for path in (place, place / "inner")]
        programs.append([mount.bucket_program for mount in found if mount])
    assert programs == [["s3fs", ""], ["", ""], ["s3fs", "s3fs"], ["", ""]]


def test_a_link_to_a_bucket_is_followed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(tmp_path, monkeypatch, line(place, *BUCKETS["gcsfuse"]))
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(DiskError, match="gcsfuse"):
        divcon.run(tmp_path / "nowhere", out=tmp_path / "link" / "run", **TINY)


@pytest.mark.parametrize("table", [b"", b"\xff\n - \nx - y\n1 2 3 4 /x - fuse\n", None])
def test_without_a_table_or_with_odd_lines_nothing_is_refused(
    table: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if table is not None:
        (tmp_path / "mountinfo").write_bytes(table)
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    assert mount_of(tmp_path) is None


def test_this_machine_has_a_mount_for_every_folder(tmp_path: Path) -> None:
    mount = mount_of(tmp_path / "not" / "there")
    assert mount is None or (tmp_path.resolve().is_relative_to(mount.folder) and not mount.bucket_program)
