"""A folder of images: it is scanned, indexed and read, and its pixels are decoded once."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_decode import encoded, flipped, png, scene

from divcon import log
from divcon.data.decoding.orientation import RGBArray
from divcon.data.images import Images, Positions, open_images
from divcon.data.index import scan, scan_cache
from divcon.data.index.index import Index
from divcon.data.index.scan import path_filter
from divcon.data.index.table import Found
from divcon.data.index.validate import Verdict
from divcon.data.index.worker_pool import DecodeWorker, check_files
from divcon.data.pixels import pixel_cache
from divcon.data.pixels.pixel_cache import CachedPixels, open_pixels
from divcon.data.pixels.pixels import DecodedPixels
from divcon.data.sources.folder import Folder
from divcon.data.sources.source import ByteRange
from divcon.data.synthetic import KINDS, class_sizes, make_collection
from divcon.errors import DataError, DiskError, Error, InputError, ResourceError


def aged(folder: Path) -> Path:
    """Set the times of all files long ago: the cache of scans keeps no verdict on a file that was just written."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aged(make_collection(tmp_path_factory.mktemp("good") / "made", n=300, seed=1, size=32))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def images(good: Path, cache: Path) -> Images:
    return open_images(good, cache=cache)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are given to the decoding processes."""
    paths = list[bytes]()

    def noted(byte_ranges: Iterable[ByteRange], *, workers: int) -> Generator[tuple[ByteRange, Verdict], None, None]:
        asked = [*byte_ranges]
        paths.extend(byte_range.file for byte_range in asked)
        return check_files(asked, workers=workers)

    monkeypatch.setattr(scan, "check_files", noted)
    return paths


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif.tobytes())


def animated() -> bytes:
    frames = [Image.new("RGB", (40, 30), color) for color in ("green", "blue")]
    return encoded("GIF", Image.fromarray(scene(30, 40)), save_all=True, append_images=frames)


def palette() -> Image.Image:
    return Image.fromarray(scene()).quantize(32)


def tinted(red: int) -> bytes:
    image = Image.new("RGB", (20, 20), (red, 0, 0))
    image.putpixel((0, 0), (red, 0, 9))  # a picture of one color is none
    return encoded("PNG", image)


def litter(folder: Path, a_good_one: Path) -> None:
    """Make one file of each kind that neglected folders hold."""
    jpeg, whole_png = encoded("JPEG"), encoded("PNG")
    files = {
        b"bad/empty.jpg": b"",
        b"bad/text.jpg": b"this is a text, whatever its name says, and quite a long one",
        b"bad/Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(100),
        b"bad/half.jpg": jpeg[: len(jpeg) // 2],
        b"bad/checksum.png": flipped(whole_png, len(whole_png) - 16),
        b"bad/bomb.png": png(30_000, 30_000, 8, 2, b""),
        b"odd/deep.png": encoded("PNG", Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160)),
        b"odd/cmyk.jpg": encoded("JPEG", Image.fromarray(scene()).convert("CMYK")),
        b"odd/palette.png": encoded("PNG", palette(), transparency=3),
        b"odd/turned.jpg": turned(),
        b"odd/animated.gif": animated(),
        b"odd/.hidden": tinted(1),
        b"odd/two\nlines.png": tinted(2),
        b"odd/\xff\xfe.png": tinted(3),
        b"odd/<img src=x onerror=alert(1)>.png": tinted(4),
        b"odd/copy.png": a_good_one.read_bytes(),
    }
    (folder / "bad").mkdir()
    (folder / "odd").mkdir()
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    (folder / "odd" / "link.png").symlink_to(a_good_one)
    (folder / "odd" / "above").symlink_to("..")
    (folder / "bad" / "dangling.png").symlink_to("nowhere.png")
    (folder / "bad" / "itself.png").symlink_to("itself.png")
    (folder / "bad" / "null.png").symlink_to("/dev/null")
    os.mkfifo(folder / "bad" / "pipe.png")


REASONS = {
    b"bad/empty.jpg": "empty_file",
    b"bad/text.jpg": "not_an_image",
    b"bad/Thumbs.db": "not_candidate",
    b"bad/half.jpg": "truncated",
    b"bad/checksum.png": "corrupt",
    b"bad/bomb.png": "too_many_pixels",
    b"bad/dangling.png": "dangling_link",
    b"bad/itself.png": "dangling_link",
    b"bad/null.png": "not_a_regular_file",
    b"bad/pipe.png": "not_a_regular_file",
}


@pytest.fixture(scope="module")
def littered(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("littered") / "all"
    shutil.copytree(good, folder)
    litter(folder, folder / "disc" / "00000.png")
    return aged(folder)


@pytest.fixture(scope="module")
def index(littered: Path, cache: Path) -> Index:
    return open_images(littered, cache=cache).index


def rows(index: Index, status: str) -> dict[bytes, str]:
    return {row["path_bytes"]: row["reason"] for row in index.table.to_pylist() if row["status"] == status}


def test_every_file_is_used_or_listed_with_its_reason(index: Index) -> None:
    assert rows(index, "rejected") == REASONS
    assert index.reasons == {"dangling_link": 2, "not_a_regular_file": 2} | dict.fromkeys(
        ["corrupt", "empty_file", "not_an_image", "not_candidate", "too_many_pixels", "truncated"], 1
    )
    assert (index.used, index.duplicates, index.rejected) == (309, 2, 10)
    assert index.found == index.used + index.duplicates + index.rejected == 321
    assert index.summary.startswith("found 321: used 309, duplicates 2, rejected 10 (dangling_link 2, ")


def test_of_equal_files_the_first_path_is_used(index: Index) -> None:
    assert set(rows(index, "duplicate")) == {b"odd/copy.png", b"odd/link.png"}


def test_sizes_are_those_of_the_upright_picture(index: Index) -> None:
    at = index.table["path_bytes"].to_pylist().index(b"odd/turned.jpg")
    assert (index.widths[at], index.heights[at]) == (scene().shape[0], scene().shape[1])


def test_strange_names_are_read_by_their_bytes_and_shown_escaped(littered: Path, index: Index, tmp_path: Path) -> None:
    folder = Images(Folder(littered), index)
    names = folder.names(np.arange(len(folder)))
    for name, red in ((b"odd/two\nlines.png", 2), (b"odd/\xff\xfe.png", 3)):
        assert folder.read(np.array([names.index(name)])) == [tinted(red)]
    index.save(tmp_path)
    assert "bad/pipe.png,not_a_regular_file," in (tmp_path / "rejected.csv").read_text().splitlines()
    assert "odd/copy.png,disc/00000.png,copy" in (tmp_path / "duplicates.csv").read_text().splitlines()


def test_an_index_comes_back_as_it_was_saved(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "a")
    again = Index.load(tmp_path / "a")
    assert again.table.equals(index.table) and again.fingerprint == index.fingerprint
    again.save(tmp_path / "b")
    for name in ("index.arrow", "rejected.csv", "duplicates.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_positions_are_ranks_by_hash(index: Index) -> None:
    hashes = [bytes(row) for row in index.hashes]
    assert hashes == sorted(set(hashes)) and len(hashes) == index.used


def test_names_order_and_times_change_no_position_and_no_fingerprint(
    images: Images, good: Path, cache: Path, tmp_path: Path
) -> None:
    for i, path in enumerate(sorted(path for path in good.rglob("*") if path.is_file())[::-1]):
        copy = tmp_path / "moved" / str(i % 7) / f"{i * 37 % 300}.dat"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    moved = open_images(tmp_path / "moved", cache=cache)
    everything = np.arange(len(images))
    assert moved.fingerprint == images.fingerprint == images.index.fingerprint
    assert moved.read(everything) == images.read(everything)


def test_a_rejected_file_changes_no_fingerprint_and_an_image_does(cache: Path, tmp_path: Path) -> None:
    make_collection(tmp_path / "few", n=12, size=16)
    before = open_images(tmp_path / "few", cache=cache).fingerprint
    (tmp_path / "few" / "notes.txt").write_text("not an image")
    assert open_images(tmp_path / "few", cache=cache).fingerprint == before
    (tmp_path / "few" / "one.png").write_bytes(tinted(9))
    assert open_images(tmp_path / "few", cache=cache).fingerprint != before


def test_a_second_scan_decodes_nothing(littered: Path, index: Index, cache: Path, asked: list[bytes]) -> None:
    again = open_images(littered, cache=cache).index
    assert asked == []
    assert again.table.equals(index.table)


def test_only_what_changed_is_decoded_again(cache: Path, tmp_path: Path, asked: list[bytes]) -> None:
    folder = aged(make_collection(tmp_path / "some", n=20, size=16))
    open_images(folder, cache=cache)
    asked.clear()
    changed = folder / "disc" / "00000.png"
    changed.write_bytes(tinted(7))
    os.utime(changed, (1e9 + 1, 1e9 + 1))
    open_images(folder, cache=cache)
    assert asked == [os.fsencode(changed)]


def test_a_file_written_just_now_is_not_believed_unchanged(cache: Path, tmp_path: Path, asked: list[bytes]) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(tinted(1))
    for _ in range(2):
        open_images(tmp_path / "new", cache=cache)
    assert len(asked) == 2


@pytest.mark.parametrize("damage", [b"", b"ARROW1 nonsense", None])
def test_a_damaged_memory_is_made_anew(good: Path, tmp_path: Path, asked: list[bytes], damage: bytes | None) -> None:
    before = open_images(good, include=["dots/*"], cache=tmp_path)
    (memory,) = (tmp_path / "index").iterdir()
    whole = memory.read_bytes()
    memory.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    for _ in range(2):
        assert open_images(good, include=["dots/*"], cache=tmp_path).fingerprint == before.fingerprint
    assert len(asked) == 2 * len(before)


def test_a_scan_cache_of_another_version_is_made_anew(
    good: Path, tmp_path: Path, asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_images(good, include=["dots/*"], cache=tmp_path)
    monkeypatch.setattr(scan_cache, "LAYOUT", b"0, another Pillow")
    open_images(good, include=["dots/*"], cache=tmp_path)
    assert len(asked) == 2 * len(set(asked)) > 0


def test_an_interrupted_scan_keeps_what_it_did(good: Path, tmp_path: Path, asked: list[bytes]) -> None:
    def interrupt(tick: log.Progress) -> None:
        if tick.done == 100:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(log, "watch", interrupt)
        open_images(good, cache=tmp_path)
    asked.clear()
    assert len(open_images(good, cache=tmp_path)) == 300
    assert len(asked) == 200


def test_links_to_folders_are_followed_each_folder_once(cache: Path, tmp_path: Path) -> None:
    make_collection(tmp_path / "elsewhere", n=12, size=16)
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    for name, target in {"one": "../elsewhere", "two": "../elsewhere", "a/up": "..", "a/b/up": "../.."}.items():
        (root / name).symlink_to(target)
    index = open_images(root, cache=cache).index
    assert (index.found, index.used) == (12, 12)
    assert all(name.startswith(b"one/") for name in index.table["path_bytes"].to_pylist())


def test_patterns_choose_by_path(good: Path, cache: Path) -> None:
    def kinds(include: Sequence[str], exclude: Sequence[str] = ()) -> set[bytes]:
        folder = open_images(good, include=include, exclude=exclude, cache=cache)
        return {name.split(b"/")[0] for name in folder.names(np.arange(len(folder)))}

    assert kinds(include=["d*/*"]) == {b"disc", b"dots"}
    assert kinds(include=["d*/*"], exclude=["dots/*"]) == {b"disc"}
    assert open_images(good, include=["*.jpg"], cache=cache).index.found < 300


def test_a_limit_keeps_the_first_positions(index: Index, littered: Path, images: Images) -> None:
    few = index.limited(5)
    assert np.array_equal(few.hashes, index.hashes[:5])
    assert few.rejected == index.rejected and few.found == few.used + few.duplicates + few.rejected
    assert index.limited(10_000).table.equals(index.table)


WITHOUT_RIGHTS = """
import json, sys
from pathlib import Path
from divcon.data.index.scan import scan
from divcon.data.sources.folder import Folder
table = scan(Folder(Path(sys.argv[1])), cache=Path(sys.argv[2])).table.to_pylist()
print(json.dumps({row["path_bytes"].decode(): row["reason"] for row in table}))
"""


def obey_permissions() -> None:
    """Drop the two capabilities by which root reads every file, so that permissions hold for root too."""
    prctl, drop_from_bounding_set = ctypes.CDLL(None, use_errno=True).prctl, 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if os.geteuid() == 0 and prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "can't give up a capability")


def test_what_can_not_be_read_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("open/a.png", "open/secret.png", "closed/b.png", "closed/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tinted(len(name)))
    (folder / "open" / "secret.png").chmod(0)
    (folder / "closed").chmod(0)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(folder), str(tmp_path / "cache")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=obey_permissions)
    (folder / "closed").chmod(0o700)
    expected = {"open/a.png": "", "open/secret.png": "permission_denied", "closed/": "permission_denied"}
    assert json.loads(done.stdout) == expected


def served(check: str) -> tuple[str, ...]:
    """Return the command of a decoding process with another check function."""
    code = f"import os, time\nfrom divcon.data.index import decode_worker, validate\nfrom divcon.data.index.validate import Verdict\n{check}\ndecode_worker.serve(check)"
    return (sys.executable, "-c", code)


BYTE_RANGES = [ByteRange(b"%d" % i) for i in range(30)]


def test_a_decoder_that_hangs_is_killed_and_costs_one_file() -> None:
    hangs = served(
        "def check(byte_range):\n time.sleep(1000 * (byte_range.file == b'3'))\n return Verdict(size=int(byte_range.file))"
    )
    verdicts = dict(check_files(BYTE_RANGES, workers=2, command=hangs, seconds=1.0))
    assert [verdict.reason for verdict in verdicts.values() if verdict.reason] == ["timeout"]
    assert [verdicts[byte_range].size for byte_range in BYTE_RANGES] == [0 if i == 3 else i for i in range(30)]
    assert verdicts[BYTE_RANGES[3]].reason == "timeout"


def test_a_decoder_that_crashes_is_replaced_and_costs_one_file() -> None:
    crashes = served(
        "def check(byte_range):\n if byte_range.file in (b'0', b'11', b'29'): os.abort()\n return Verdict()"
    )
    verdicts = dict(check_files(BYTE_RANGES, workers=2, command=crashes))
    crashed = {byte_range.file for byte_range in BYTE_RANGES if verdicts[byte_range].reason == "decoder_crashed"}
    assert crashed == {b"0", b"11", b"29"}
    assert sum(bool(verdict.reason) for verdict in verdicts.values()) == 3


def test_a_decoder_that_somebody_ends_costs_nothing(tmp_path: Path) -> None:
    once = f"""
def check(byte_range):
    if byte_range.file in (b"4", b"5", b"20") and not os.path.exists(f"{tmp_path}/{{byte_range.file.decode()}}"):
        open(f"{tmp_path}/{{byte_range.file.decode()}}", "x")
        os.kill(os.getpid(), 9)
    return Verdict(size=int(byte_range.file))"""
    verdicts = dict(check_files(BYTE_RANGES, workers=2, command=served(once)))
    assert [verdicts[byte_range].size for byte_range in BYTE_RANGES] == list(range(30)) and len(
        list(tmp_path.iterdir())
    ) == 3


def test_a_decoder_that_takes_too_much_memory_costs_one_file(tmp_path: Path) -> None:
    greedy = "import numpy\nvalidate.decode = lambda data: (numpy.ones((int(data), 1, 3), numpy.uint8), ())\ncheck = validate.check_file"
    heights = {"a": 10, "b": 10**9, "c": 20}
    for name, height in heights.items():
        (tmp_path / name).write_text(str(height))
    files = [ByteRange(os.fsencode(tmp_path / name)) for name in heights]
    verdicts = [verdict for _, verdict in check_files(files, workers=1, command=served(greedy))]
    assert [verdict.reason for verdict in verdicts] == ["", "memory", ""]
    assert [verdict.height for verdict in verdicts] == [10, 0, 20]


def test_a_decoder_that_can_not_start_is_an_error_of_its_own() -> None:
    with pytest.raises(ResourceError, match="can't be started"):
        list(check_files(BYTE_RANGES, workers=2, command=(sys.executable, "-c", "raise SystemExit(3)")))


def test_a_child_knows_no_torch_ignores_ctrl_c_and_ends_with_its_input() -> None:
    asks = "import sys\ndef check(byte_range):\n os.kill(os.getpid(), 2)\n return Verdict(size=int('torch' in sys.modules))"
    one = DecodeWorker(served(asks))
    assert list(one.check([ByteRange(b"a"), ByteRange(b"b")])) == [Verdict(), Verdict()]
    assert one.process.stdin
    one.process.stdin.close()
    assert one.process.wait(10) == 0


def test_a_scan_works_from_any_folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "divcon.py").write_text("raise SystemExit('the wrong divcon')")
    (tmp_path / "photos").symlink_to(good)
    monkeypatch.chdir(tmp_path)
    assert len(open_images("photos", include=["dots/*"], cache=Path("cache"))) > 0


def test_what_is_not_there_is_said_with_the_right_code(tmp_path: Path) -> None:
    def problem(folder: Path) -> Error:
        with pytest.raises(Error) as error:
            open_images(folder, cache=tmp_path / "cache")
        return error.value

    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("no")
    (tmp_path / "file").write_text("no")
    assert isinstance(problem(tmp_path / "missing"), InputError)
    assert isinstance(problem(tmp_path / "file"), InputError)
    assert "no images found in" in str(problem(tmp_path / "empty")) and problem(tmp_path / "empty").code == 66
    assert "not_an_image 1" in str(problem(tmp_path / "bad")) and problem(tmp_path / "bad").code == 65


def test_a_socket_is_never_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        entries = Folder(tmp_path).entries(path_filter((), ()))
        assert [entry.reason for entry in entries] == ["not_a_regular_file"]


def test_a_subset_numbers_its_images_from_0(images: Images) -> None:
    some = images.subset(np.array([5, 3, 8]))
    assert len(some) == 3 and some.read(np.array([1])) == images.read(np.array([3]))
    inner = some.subset(np.array([2]))
    assert inner.names(np.array([0])) == images.names(np.array([8])) and inner.widths[0] == images.widths[8]
    assert inner.fingerprint == images.subset(np.array([8])).fingerprint != some.fingerprint
    assert images.subset(np.array([3, 5, 8])).fingerprint != some.fingerprint


@pytest.mark.parametrize("change", ["grown", "gone"])
def test_a_file_that_changed_after_the_scan_is_named(tmp_path: Path, cache: Path, change: str) -> None:
    folder = make_collection(tmp_path / "photos", n=12, size=16)
    images = open_images(folder, cache=cache)
    victim = folder / "disc" / "00000.png"
    victim.unlink() if change == "gone" else victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"disc/00000\.png .* has changed"):
        images.read(np.arange(len(images)))


def test_cached_and_decoded_pixels_are_the_same(images: Images, cache: Path) -> None:
    cached = open_pixels(images, 20, cache=cache, cache_gb=1, workers=2)
    fresh = open_pixels(images, 20, cache=cache, cache_gb=0, workers=2)
    assert isinstance(cached, CachedPixels) and isinstance(fresh, DecodedPixels)
    some = np.random.default_rng(0).integers(0, len(images), 90)
    for a, b in ((cached, fresh), (cached.subset(some), fresh.subset(some))):
        (left, at), (right, there) = a.read(some % len(a)), b.read(some % len(b))
        assert all(np.array_equal(left[i], right[j]) for i, j in zip(at.tolist(), there.tolist(), strict=True))
        assert np.array_equal(a.heights, b.heights) and np.array_equal(a.widths, b.widths)
        assert [left[i].shape[:2] for i in at.tolist()] == list(zip(a.heights[some % len(a)], a.widths[some % len(a)]))


def test_pixels_are_decoded_once_and_shared(images: Images, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_pixels(images, 24, cache=cache, cache_gb=1, workers=2)
    monkeypatch.setattr(pixel_cache, "decode_images", None)
    assert len(open_pixels(images, 24, cache=cache, cache_gb=1, workers=2)) == len(images)


KILLED = """
import os, sys
from pathlib import Path
from divcon import log
from divcon.data.images import open_images
from divcon.data.pixels import pixel_cache
images = open_images(sys.argv[1], cache=Path(sys.argv[2]))
pixel_cache.BLOCK = 64
log.watch = lambda tick: os.kill(os.getpid(), 9) if tick.what == "pixels" and tick.done == 192 else None
pixel_cache.open_pixels(images, 16, cache=Path(sys.argv[2]), cache_gb=1, workers=2)
"""


@pytest.fixture
def killed(good: Path, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which a build was killed after the third of its five blocks."""
    monkeypatch.setattr(pixel_cache, "BLOCK", 64)
    done = subprocess.run([sys.executable, "-c", KILLED, good, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    return tmp_path


def part_of(cache: Path) -> Path:
    (part,) = (cache / "pixels").glob("*.part")
    return part


@pytest.mark.parametrize(("damaged", "left"), [(False, 300 - 192), (True, 300 - 128)])
def test_a_killed_build_goes_on_where_it_was(
    killed: Path, images: Images, damaged: bool, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damaged:
        with (part_of(killed) / "pixels.u8").open("r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]))
    counted, decode = list[int](), pixel_cache.decode_images

    def counting(images: Images, positions: Positions, side: int) -> list[RGBArray]:
        counted.append(len(positions))
        return decode(images, positions, side)

    monkeypatch.setattr(pixel_cache, "decode_images", counting)
    built = open_pixels(images, 16, cache=killed, cache_gb=1, workers=2)
    assert sum(counted) == left
    pictures, at = built.read(np.arange(300))
    fresh, _ = DecodedPixels(images, 16, 2).read(np.arange(300))
    assert np.array_equal(pictures.flat, fresh.flat) and len(at) == 300
    assert not list((killed / "pixels").glob("*.part"))


def test_a_build_that_comes_second_takes_the_first_ones(images: Images, tmp_path: Path) -> None:
    first = open_pixels(images, 16, cache=tmp_path, cache_gb=1, workers=2)
    (folder,) = (tmp_path / "pixels").iterdir()
    pixel_cache.CacheWriter(folder, images, 16, int(first.read(np.arange(1))[0].flat.size)).write(2)
    assert list((tmp_path / "pixels").iterdir()) == [folder]


def test_a_pixel_cache_of_the_wrong_length_is_made_anew(images: Images, tmp_path: Path) -> None:
    before = open_pixels(images, 16, cache=tmp_path, cache_gb=1, workers=2).read(np.arange(1))[0].flat.copy()
    (file,) = (tmp_path / "pixels").glob("*/pixels.u8")
    os.truncate(file, 100)
    after = open_pixels(images, 16, cache=tmp_path, cache_gb=1, workers=2).read(np.arange(1))[0].flat
    assert np.array_equal(before, after)


def test_a_full_disk_is_said_before_anything_is_decoded(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    monkeypatch.setattr(pixel_cache, "decode_images", None)
    with pytest.raises(DiskError, match=r"GB more than is free.*cache="):
        open_pixels(images, 16, cache=tmp_path, cache_gb=1, workers=2)


def test_an_image_of_equal_length_and_other_content_is_named(tmp_path: Path, cache: Path) -> None:
    folder = make_collection(tmp_path / "photos", n=12, size=16)
    images = open_images(folder, cache=cache)
    victim = folder / "disc" / "00000.png"
    victim.write_bytes(b"?" * victim.stat().st_size)
    with pytest.raises(DataError, match=r"disc/00000\.png .* as many bytes as before, but different ones"):
        DecodedPixels(images, 8, 2).read(np.arange(len(images)))


def test_a_made_collection_is_the_same_for_the_same_seed(good: Path, tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(make_collection(tmp_path / "again", n=300, seed=1, size=32)) == contents(good)
    few, other = (
        contents(make_collection(tmp_path / "few", n=30, seed=1, size=32)),
        contents(make_collection(tmp_path / "o", 30, 2, 32)),
    )
    assert few.items() <= contents(good).items()
    assert not set(few.values()) & set(other.values())


def test_made_kinds_are_all_there_and_heavy_tailed(good: Path) -> None:
    sizes = class_sizes(300, len(KINDS))
    assert sum(sizes) == 300 and sizes == sorted(sizes, reverse=True) and sizes[0] > 5 * sizes[-1] > 0
    assert [len(list((good / kind).iterdir())) for kind in KINDS] == sizes


def test_an_index_of_nothing_is_an_index(tmp_path: Path) -> None:
    empty = Index.of([])
    empty.save(tmp_path)
    assert Index.load(tmp_path).found == 0 and empty.reasons == {} and empty.hashes.shape == (0, 32)
    only_bad = Index.of([Found(b"x", reason="corrupt")])
    assert (only_bad.used, only_bad.rejected, only_bad.limited(3).found) == (0, 1, 1)
